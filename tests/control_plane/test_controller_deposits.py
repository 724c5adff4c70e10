"""Client secrets that were typed into the portal reach their place, with the real controller and a real API server."""

import base64
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from cube_oauth.resources.secrets import ClientDeposit, deposit_secret
from tests.control_plane.harness import APPS, CLIENTS, SECRETS, _reference, eventually

pytestmark = pytest.mark.control_plane


def deposit(installation, app, value, **change):
    """What the portal does."""
    made = ClientDeposit(
        app=_reference(app), secret_name="trino-client", key="clientSecret", value=value, issued_at=datetime.now(UTC)
    ).model_copy(update=change)
    sealed = installation._sealing_key().seal(SecretStr(made.model_dump_json(by_alias=True)))
    body = deposit_secret(f"client-{secrets.token_hex(8)}", installation.tokens, sealed)
    installation.kube.create(SECRETS.format(installation.tokens), body)


def trial(installation):
    found = installation.kube.get(f"{APPS.format(installation.tenant)}/trino")
    return next((one for one in found["status"]["conditions"] if one["type"] == "Tried"), None)


def beside(installation):
    found = installation.kube.get(f"{SECRETS.format(installation.tenant)}/trino-client")
    return found and base64.b64decode(found["data"]["clientSecret"]).decode()


def test_a_typed_client_secret_makes_the_app_ready_and_is_replaced_and_somebody_else_s_stays(installation):
    controller = installation.start()
    app = installation.app(secret=False)
    eventually(lambda: installation.ready()["reason"] == "ClientSecretNotFound", say=installation.tell)

    deposit(installation, app, "long ago", issued_at=datetime.now(UTC) - timedelta(hours=1))
    deposit(installation, app, CLIENTS["cube"])
    eventually(lambda: installation.ready()["status"] == "True", say=installation.tell)
    installation.connect("alice")
    assert beside(installation) == CLIENTS["cube"]

    # the provider knows another redirect URI than ours for this client
    assert eventually(lambda: trial(installation), say=installation.tell)["reason"] == "AuthorizationRefused"

    deposit(installation, app, "canary-another")
    eventually(lambda: beside(installation) == "canary-another", say=installation.tell)
    eventually(lambda: trial(installation)["reason"] == "InvalidClient", say=installation.tell)

    installation.client_secret("trino", "canary-by-hand")
    deposit(installation, app, "canary-typed")
    eventually(lambda: any(one["reason"] == "ClientSecretKeptElsewhere" for one in installation.events()), say=installation.tell)
    assert beside(installation) == "canary-by-hand"
    eventually(lambda: trial(installation)["reason"] == "ClientSecretKeptElsewhere", say=installation.tell)
    eventually(lambda: installation.stored("client") == [], say=installation.tell)
    log = controller.log.read_text()
    assert not any(hidden in log for hidden in ("canary", "long ago"))

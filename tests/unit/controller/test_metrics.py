"""Numbers of OAuthApps that are gone do not stay for as long as the controller runs."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cube_oauth.controller.engine import Controller
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.settings import Settings
from cube_oauth.kube.api import OAUTH_APPS
from cube_oauth.lifecycle.revoke import set_aside
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.oauthapp import ClientAuthentication
from cube_oauth.settings import Installation
from tests.unit.controller.clocks import START, StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import app, token

APPS = ("kept", "gone", "revoked")


@pytest.fixture
async def controller():
    api, metrics = FakeApi(), Metrics(CollectorRegistry())
    settings = Settings(
        Installation("co", "system", "tokens", ("team",), "https://portal.example.com"), "me", None, None, ("", 0), 1
    )
    keys = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
    made = Controller(api, settings, None, keys, None, metrics, StoppedClock())
    for name in APPS:
        body = {"metadata": {**app().metadata.to_json(), "name": name}, "spec": app().spec.to_json()}
        api.store(OAUTH_APPS.path("team", name), body)
        metrics.refreshes.labels("team", name, "Refreshed").inc()
        metrics.provider_seconds.labels("team", name, "refresh").observe(1)
    await made._list_all()
    return made


def told(controller):
    page = generate_latest(controller._metrics._registry).decode()
    return {name for name in APPS for line in page.splitlines() if "refresh" in line and f'app="{name}"' in line}


async def test_an_app_that_is_gone_is_forgotten_once_nothing_of_it_waits_to_be_revoked(controller):
    record = token().record
    of_app = record.app.model_copy(update={"name": "revoked"})
    stored = replace(token(), record=record.model_copy(update={"app": of_app, "revocation_url": "https://idp/revoke"}))
    waiting = set_aside(stored, "x", ClientAuthentication.BASIC, None, START, None)
    mirror = controller._revocations.mirror
    mirror.put(controller._api.store("waits", {**waiting.to_kubernetes("tokens")}))
    for name in ("gone", "revoked"):
        del controller._api.objects[OAUTH_APPS.path("team", name)]
    await controller._list_all()
    assert told(controller) == {"kept", "revoked"}
    mirror.discard(("tokens", waiting.name))
    await controller._list_all()
    assert told(controller) == {"kept"}

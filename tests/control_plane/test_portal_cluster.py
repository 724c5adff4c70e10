"""What the portal does in a cluster, against a real API server: its races end well."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from cube_oauth.kube.api import CONFIG_MAPS, OAUTH_APPS, USER_CREDENTIALS, Api, KubeError
from cube_oauth.portal.appchange import version
from cube_oauth.portal.cluster import Cluster
from cube_oauth.resources.keyring import SealingKey
from cube_oauth.resources.names import grant_secret_name
from cube_oauth.resources.secrets import Grant, Reference
from cube_oauth.settings import Installation

pytestmark = pytest.mark.control_plane

APP = {
    "apiVersion": "cubeoauth.dev/v1alpha1",
    "kind": "OAuthApp",
    "metadata": {"name": "trino"},
    "spec": {"issuerURL": "https://idp.example.com", "clientID": "client"},
}


@asynccontextmanager
async def replica(control_plane, namespace):
    """One portal's view of the cluster, filled."""
    installation = Installation("test", namespace, namespace, (namespace,), "https://portal.example.com")
    async with Api.connect(str(control_plane.kubeconfig)) as api:
        cluster = Cluster(api, installation)
        running = asyncio.create_task(cluster.run())
        try:
            await asyncio.wait_for(cluster.filled(), 30)
            yield api, cluster
        finally:
            running.cancel()


@pytest.fixture
async def portal(control_plane, namespace):
    async with Api.connect(str(control_plane.kubeconfig)) as api:
        await api.create(OAUTH_APPS, APP, namespace)
    async with replica(control_plane, namespace) as made:
        yield made


def grant_for(namespace):
    nobody = Reference(namespace=namespace, name="x", uid="x")
    return Grant(
        credential=nobody,
        app=nobody,
        username="alice",
        code="the-code",
        redirect_uri="https://portal.example.com/callback/x/y",
        token_url="https://idp.example.com/token",
        client_id="client",
        issued_at=datetime.now(UTC),
    )


async def test_two_replicas_never_make_two_credentials(control_plane, namespace, portal):
    _, one = portal
    async with replica(control_plane, namespace) as (api, other):
        app = one.app(namespace, "trino")
        made = await asyncio.gather(*(cluster.ensure_credential(app, "alice") for cluster in (one, other) * 5))
        assert len({credential.metadata.uid for credential in made}) == 1
        assert len((await api.list(USER_CREDENTIALS, namespace))["items"]) == 1


async def test_names_that_look_alike_are_two_people(namespace, portal):
    _, cluster = portal
    app = cluster.app(namespace, "trino")
    alice, capital = await cluster.ensure_credential(app, "alice"), await cluster.ensure_credential(app, "Alice")
    assert alice.metadata.uid != capital.metadata.uid


async def test_a_credential_declared_in_git_is_used(namespace, portal):
    api, cluster = portal
    app = cluster.app(namespace, "trino")
    declared = {
        "apiVersion": "cubeoauth.dev/v1alpha1",
        "kind": "UserCredential",
        "metadata": {"name": "from-git"},
        "spec": {"username": "alice", "oauthAppRef": {"name": "trino"}},
    }
    await api.create(USER_CREDENTIALS, declared, namespace)
    assert await cluster.until(lambda: cluster.credential(app, "alice") is not None, "alice", 30)
    assert (await cluster.ensure_credential(app, "alice")).metadata.name == "from-git"


async def test_disconnecting_and_connecting_at_once_makes_a_new_one(namespace, portal):
    _, cluster = portal
    app = cluster.app(namespace, "trino")
    before = await cluster.ensure_credential(app, "alice")
    await cluster.until(lambda: cluster.credential(app, "alice") is not None, "alice", 30)
    await cluster.remove(before)
    after = await cluster.ensure_credential(app, "alice")
    assert after.metadata.uid != before.metadata.uid
    await cluster.remove(before)  # the old one, by its UID: the new one stays
    assert (await cluster.ensure_credential(app, "alice")).metadata.uid == after.metadata.uid


async def test_a_grant_is_handed_in_once_and_sealed(namespace, portal):
    api, cluster = portal
    key = SealingKey.generate()
    ring = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "test-grant-key"},
        "data": {"ring": key.to_json(private=False)},
    }
    await api.create(CONFIG_MAPS, ring, namespace)
    state = uuid.uuid4().hex
    await cluster.deposit(state, grant_for(namespace))
    with pytest.raises(KubeError) as caught:
        await cluster.deposit(state, grant_for(namespace))
    assert caught.value.conflict
    stored = await api.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{grant_secret_name(state)}")
    assert stored["type"] == "cubeoauth.dev/grant"
    assert "the-code" not in str(stored)


async def test_without_a_key_nothing_is_handed_in(namespace, portal):
    _, cluster = portal
    with pytest.raises(KubeError, match="no key for grants"):
        await cluster.deposit("state", grant_for(namespace))


async def test_a_change_is_compared_with_what_was_read_and_touches_only_its_fields(namespace, portal):
    api, cluster = portal
    read = await cluster.read_app(namespace, "trino")
    await api.merge(OAUTH_APPS, "trino", {"status": {"redirectURI": "https://x"}}, namespace, "status")
    with pytest.raises(KubeError) as caught:
        await cluster.change_app(read, {"displayName": "Mine"})
    assert caught.value.conflict
    again = await cluster.read_app(namespace, "trino")
    assert version(again) == version(read)  # the status is nobody's change
    made = await cluster.change_app(again, {"displayName": "Mine", "scopes": ["openid"]})
    assert (made.title, made.spec.client_id, made.spec.scopes) == ("Mine", "client", ["openid"])
    assert version(made) != version(read)
    assert await cluster.until(lambda: cluster.shows(made), "alice", 30)
    emptied = await cluster.change_app(made, {"displayName": None, "scopes": None})
    assert (emptied.title, emptied.spec.scopes) == ("trino", [])


async def test_an_app_that_was_made_anew_is_neither_changed_nor_deleted_for_the_old_one(namespace, portal):
    api, cluster = portal
    old = await cluster.read_app(namespace, "trino")
    await cluster.remove_app(old)
    await api.create(OAUTH_APPS, APP, namespace)
    for act in (cluster.change_app(old, {"displayName": "Mine"}), cluster.remove_app(old)):
        with pytest.raises(KubeError) as caught:
            await act
        assert caught.value.conflict
    assert (await cluster.read_app(namespace, "trino")).title == "trino"

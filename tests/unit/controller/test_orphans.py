"""Tokens of deleted credentials: removed when the credential is surely gone, and only then."""

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.inventory import Inventory
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.orphans import ATTEMPTS, Orphans
from cube_oauth.controller.revoke import Revoker
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS, KubeError
from cube_oauth.providers import Kind, ProviderError
from cube_oauth.resources.keyring import Keyring, SealingKey
from tests.unit.controller.clocks import StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import token

KEYS = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
OWNER = USER_CREDENTIALS.path("team", "trino-alice")


class Provider:
    def __init__(self):
        self.revoked, self.problem = [], None

    async def revoke(self, endpoints, client, secret, hint="refresh_token"):
        self.revoked.append((endpoints.revocation_url, client.client_id, secret.get_secret_value()))
        if self.problem:
            raise self.problem


@pytest.fixture
def bench():
    class Bench:
        api, provider, clock = FakeApi(), Provider(), StoppedClock()

        def __init__(self):
            tokens = TokenStore(self.api, "tokens", lambda new, old: None)
            revoker = Revoker(self.provider, KEYS, Metrics(CollectorRegistry()))
            self.orphans = Orphans(self.api, Inventory(), None, tokens, revoker, self.clock)
            owner = token().record.owner
            made = token(refresh=KEYS.refresh.seal(SecretStr("refresh"), owner), revocation_url="https://idp.example.com/revoke")
            self.path = SECRETS.path("tokens", made.name)
            tokens.mirror.put(self.api.store(self.path, {**made.to_kubernetes("tokens")}))

        def kept(self):
            return self.path in self.api.objects

    Bench.api, Bench.provider = FakeApi(), Provider()
    return Bench()


async def test_while_its_credential_is_there_a_token_stays(bench):
    bench.api.store(OWNER, {"metadata": {"uid": "uid-1"}})
    assert await bench.orphans.reconcile("uid-1") is None
    assert bench.kept()
    assert bench.provider.revoked == []


async def test_when_its_credential_is_gone_a_token_is_revoked_where_it_came_from_and_removed(bench):
    await bench.orphans.reconcile("uid-1")
    assert not bench.kept()
    assert bench.provider.revoked == [("https://idp.example.com/revoke", "cube", "refresh")]


async def test_another_credential_of_the_same_name_is_another_one(bench):
    bench.api.store(OWNER, {"metadata": {"uid": "uid-2"}})
    await bench.orphans.reconcile("uid-1")
    assert not bench.kept()


async def test_a_kind_that_is_not_served_does_not_mean_gone(bench):
    bench.api.list_fault = KubeError(404, "NotFound", "GET")
    with pytest.raises(KubeError):
        await bench.orphans.reconcile("uid-1")
    assert bench.kept()
    assert bench.provider.revoked == []


async def test_a_provider_in_trouble_is_asked_a_few_times_and_then_the_token_is_removed_all_the_same(bench):
    bench.provider.problem = ProviderError(Kind.WEATHER, "Timeout", "m")
    for _ in range(ATTEMPTS - 1):
        assert await bench.orphans.reconcile("uid-1") > bench.clock.now()
        assert bench.kept()
    assert await bench.orphans.reconcile("uid-1") is None
    assert not bench.kept()

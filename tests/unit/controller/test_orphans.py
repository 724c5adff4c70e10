"""Tokens of deleted credentials: removed when the credential is surely gone, and only then."""

from dataclasses import replace

import pytest

from cube_oauth.controller.orphans import Orphans
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS, KubeError
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import token

OWNER = USER_CREDENTIALS.path("team", "trino-alice")


class Bench:
    """Also what the orphans tell the revocations."""

    def __init__(self):
        self.api, self.told, self.problem = FakeApi(), [], None
        tokens = TokenStore(self.api, "tokens", lambda new, old: None)
        self.orphans = Orphans(self.api, tokens, self)
        made = token()
        self.path = SECRETS.path("tokens", made.name)
        tokens.mirror.put(self.api.store(self.path, {**made.to_kubernetes("tokens")}))

    async def set_aside(self, token, reason):
        self.told.append(("set aside", self.kept()))
        if self.problem:
            raise self.problem

    def removed(self, token):
        self.told.append(("removed", self.kept()))

    def kept(self):
        return self.path in self.api.objects


@pytest.fixture
def bench():
    return Bench()


async def test_while_its_credential_is_there_a_token_stays(bench):
    bench.api.store(OWNER, {"metadata": {"uid": "uid-1"}})
    assert await bench.orphans.reconcile("uid-1") is None
    assert bench.kept()
    assert bench.told == []


async def test_when_its_credential_is_gone_a_token_is_set_aside_first_and_then_removed(bench):
    await bench.orphans.reconcile("uid-1")
    assert bench.told == [("set aside", True), ("removed", False)]


async def test_a_refresh_that_was_under_way_is_set_aside_too_before_anything_is_removed(bench):
    made = replace(token(refresh="of-the-answer"), resource_version=None)

    async def refreshed_meanwhile(token, reason):
        bench.told.append(token.refresh_token)
        if len(bench.told) == 1:
            bench.api.store(bench.path, made.to_kubernetes("tokens"))

    bench.set_aside = refreshed_meanwhile
    await bench.orphans.reconcile("uid-1")
    assert bench.told == ["sealed-refresh", "of-the-answer", ("removed", False)]


async def test_what_cannot_be_set_aside_is_not_removed(bench):
    bench.problem = KubeError(500, "InternalError", "POST")
    with pytest.raises(KubeError):
        await bench.orphans.reconcile("uid-1")
    assert bench.kept()


async def test_another_credential_of_the_same_name_is_another_one(bench):
    bench.api.store(OWNER, {"metadata": {"uid": "uid-2"}})
    await bench.orphans.reconcile("uid-1")
    assert not bench.kept()


async def test_a_kind_that_is_not_served_does_not_mean_gone(bench):
    bench.api.list_fault = KubeError(404, "NotFound", "GET")
    with pytest.raises(KubeError):
        await bench.orphans.reconcile("uid-1")
    assert bench.kept()
    assert bench.told == []

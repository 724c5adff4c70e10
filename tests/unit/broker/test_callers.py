"""Whose token it is."""

import pytest

from cube_oauth.broker import callers
from cube_oauth.broker.callers import KEPT_SECONDS, Reviewer, Workload
from cube_oauth.resources.names import RESOLVER_AUDIENCE

GOOD = {
    "authenticated": True,
    "audiences": [RESOLVER_AUDIENCE],
    "user": {"username": "system:serviceaccount:team:cube"},
}


class Api:
    def __init__(self, status):
        self.status = status
        self.sent = []

    async def create(self, resource, body):
        self.sent.append(body["spec"])
        return {"status": self.status}


@pytest.fixture
def it():
    class Setting:
        now = 0.0
        api = Api(GOOD)

    setting = Setting()
    setting.reviewer = Reviewer(setting.api, lambda: setting.now)
    return setting


async def test_namespace_and_service_account_come_from_the_review(it):
    assert await it.reviewer.workload("t") == Workload("team", "cube")
    assert it.api.sent == [{"token": "t", "audiences": [RESOLVER_AUDIENCE]}]


@pytest.mark.parametrize(
    "change",
    [
        {"authenticated": False},
        {"audiences": []},
        {"audiences": ["https://kubernetes.default.svc"]},
        {"user": {"username": "system:node:a"}},
        {"user": {"username": "system:serviceaccount:team"}},
        {"user": {}},
    ],
)
async def test_anything_else_is_nobody(it, change):
    it.api.status = {**GOOD, **change}
    assert await it.reviewer.workload("t") is None


async def test_a_review_is_kept_for_a_minute_and_a_refusal_is_not(it):
    for _ in range(2):
        await it.reviewer.workload("t")
    assert len(it.api.sent) == 1
    it.now = KEPT_SECONDS
    it.api.status = {}
    for _ in range(2):
        assert await it.reviewer.workload("t") is None
    assert len(it.api.sent) == 3


async def test_what_is_kept_is_bounded(it, monkeypatch):
    monkeypatch.setattr(callers, "MAX_KEPT", 2)
    for token in ("a", "b", "c", "c", "a"):
        await it.reviewer.workload(token)
    assert [spec["token"] for spec in it.api.sent] == ["a", "b", "c", "a"]

"""What the broker writes, and how rarely."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.broker import demand
from cube_oauth.broker.demand import USE_INTERVAL, Demand
from cube_oauth.kube.api import KubeError
from cube_oauth.resources.oauthapp import OAuthAppStatus
from cube_oauth.resources.usercredential import UserCredential
from tests.unit.lifecycle.samples import app

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def credential(uid="u1", **written):
    metadata = {"name": "trino-alice", "namespace": "team", "uid": uid}
    spec = {"username": "alice", "oauthAppRef": {"name": "trino"}}
    return UserCredential.model_validate({"metadata": metadata, "spec": spec, "status": {"demand": written}})


class Api:
    def __init__(self):
        self.written = []
        self.broken = False

    async def merge(self, resource, name, body, namespace, subresource):
        self.written.append((namespace, name, subresource, body))
        if self.broken:
            raise KubeError(500, "broken", "PATCH")


class Setting:
    def __init__(self):
        self.now = NOW
        self.api = Api()
        self.demand = Demand(self.api, lambda: self.now)

    async def written(self):
        """What has been written once the queue is empty."""
        writing = asyncio.create_task(self.demand.run())
        while not self.demand._queue.empty():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        return [body["status"]["demand"] for *_, body in self.api.written]


@pytest.fixture
def it():
    return Setting()


async def test_a_use_is_written_to_the_status_of_that_very_object(it):
    it.demand.used(credential())
    assert await it.written() == [{"lastUsedAt": "2026-11-23T12:00:00Z"}]
    namespace, name, subresource, body = it.api.written[0]
    assert (namespace, name, subresource, body["metadata"]) == ("team", "trino-alice", "status", {"uid": "u1"})


async def test_many_uses_are_one_write_until_five_minutes_are_over(it):
    for _ in range(10):
        it.demand.used(credential())
    it.now += USE_INTERVAL
    it.demand.used(credential())
    it.demand.used(credential())
    assert len(await it.written()) == 2


async def test_what_another_replica_wrote_counts(it):
    it.demand.used(credential(lastUsedAt=NOW - USE_INTERVAL + timedelta(seconds=1)))
    assert await it.written() == []


async def test_persons_are_noted_apart_and_a_full_queue_makes_nobody_wait(it, monkeypatch):
    monkeypatch.setattr(demand, "MAX_WAITING", 2)
    it.demand = Demand(it.api, lambda: it.now)
    for uid in ("a", "b", "c"):
        it.demand.used(credential(uid))
    assert len(await it.written()) == 2


async def test_a_rejection_is_written_once_a_revision(it):
    await it.demand.rejected(credential(rejectedRevision=3), 3)
    await it.demand.rejected(credential(rejectedRevision=3), 4)
    assert await it.written() == [{"rejectedRevision": 4}]


async def test_a_rejected_service_account_is_written_to_its_app_once_a_revision(it):
    for known, revision in ((None, 3), ({"rejectedRevision": 3}, 3), ({"rejectedRevision": 3}, 4)):
        told = app().model_copy(update={"status": OAuthAppStatus.model_validate({"demand": known})})
        await it.demand.account_rejected(told, revision)
    assert await it.written() == [{"rejectedRevision": 3}, {"rejectedRevision": 4}]
    namespace, name, subresource, body = it.api.written[0]
    assert (namespace, name, subresource, body["metadata"]) == ("team", "trino", "status", {"uid": "uid-app"})


async def test_a_use_that_a_query_waits_for_is_written_at_once_by_the_first_who_waits(it):
    for _ in range(3):
        await it.demand.needed(credential(lastUsedAt=NOW - timedelta(hours=2)))
    assert [body["status"]["demand"] for *_, body in it.api.written] == [{"lastUsedAt": "2026-11-23T12:00:00Z"}]
    it.now += timedelta(seconds=11)
    await it.demand.needed(credential())
    assert len(it.api.written) == 2


async def test_a_failed_write_ends_nothing(it):
    it.api.broken = True
    it.demand.used(credential("a"))
    it.demand.used(credential("b"))
    assert len(await it.written()) == 2

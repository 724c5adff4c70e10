"""Owners of pods are told what became of them: each thing once, and never because of a dry run."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, Counter

from cube_oauth.broker.admission import Admission
from cube_oauth.broker.owners import REMEMBERED, WAITING, Owners
from cube_oauth.injection.checks import Reason
from cube_oauth.injection.facts import Settings
from cube_oauth.injection.inject import Injection
from cube_oauth.kube.api import EVENTS, KubeError

REFUSED = Injection(Reason.NAME_TAKEN, refusal="rename it")
START = datetime(2026, 11, 24, tzinfo=UTC)


def reference(kind, name, *, controller=True):
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": controller}


def pod(*owners):
    return {"metadata": {"ownerReferences": list(owners)}}


class Cluster:
    """One ReplicaSet of one Deployment, and the Events that were posted."""

    def __init__(self, fault=None):
        self.events = []
        self.fault = fault

    async def get(self, resource, name, namespace):
        return (
            pod(reference("Deployment", "cube"))
            if (resource.plural, name, namespace) == ("replicasets", "cube-1", "team")
            else None
        )

    async def create(self, resource, body, namespace):
        assert (resource, namespace) == (EVENTS, body["metadata"]["namespace"])
        if self.fault:
            raise self.fault.pop()
        self.events.append((body["regarding"]["kind"], body["regarding"]["name"], body["reason"], body["note"]))


async def told(*said, cluster=None):
    """What was posted, after each (pod, outcome, minutes that pass before it)."""
    cluster, moment = cluster or Cluster(), [START]
    owners = Owners(cluster, "broker-1", lambda: moment[0])
    running = asyncio.create_task(owners.run())
    for manifest, injection, minutes in said:
        moment[0] += timedelta(minutes=minutes)
        owners.tell(manifest, "team", injection)
        for _ in range(10):
            await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return cluster.events


async def test_the_deployment_of_a_replica_set_is_told():
    assert await told((pod(reference("ReplicaSet", "cube-1")), REFUSED, 0)) == [("Deployment", "cube", "NameTaken", "rename it")]


async def test_another_owner_is_told_itself():
    assert await told((pod(reference("Job", "warm-up")), REFUSED, 0)) == [("Job", "warm-up", "NameTaken", "rename it")]


async def test_a_replica_set_that_went_meanwhile_is_told_itself():
    assert await told((pod(reference("ReplicaSet", "gone")), REFUSED, 0)) == [("ReplicaSet", "gone", "NameTaken", "rename it")]


async def test_who_manages_nothing_is_not_told():
    assert await told((pod(), REFUSED, 0), (pod(reference("Thing", "x", controller=False)), REFUSED, 0)) == []


async def test_warnings_are_told_together_and_silence_is_kept_when_all_is_well():
    warned = Injection(Reason.INJECTED, warnings=("one", "two"))
    owner = pod(reference("Job", "warm-up"))
    assert await told((owner, warned, 0), (owner, Injection(Reason.INJECTED), 0)) == [
        ("Job", "warm-up", "InjectedWithWarnings", "one; two")
    ]


async def test_a_replica_set_that_tries_again_and_again_is_told_once_in_ten_minutes():
    owner = pod(reference("Job", "warm-up"))
    assert len(await told((owner, REFUSED, 0), (owner, REFUSED, 9), (owner, REFUSED, 2))) == 2


async def test_what_cannot_be_posted_is_no_harm():
    cluster = Cluster(fault=[KubeError(403, "Forbidden", "create events")])
    owner = pod(reference("Job", "warm-up"))
    await told((owner, REFUSED, 0), cluster=cluster)
    cluster.fault = None
    assert await told((owner, REFUSED, 0), cluster=cluster)


async def test_a_flood_is_bounded():
    owners = Owners(Cluster(), "broker-1", lambda: START)
    for number in range(REMEMBERED + WAITING):
        owners.tell(pod(reference("Job", str(number))), "team", REFUSED)
    assert owners._waiting.qsize() == WAITING
    assert len(owners._told) <= REMEMBERED


async def test_a_dry_run_is_told_to_nobody():
    heard = []
    owners = SimpleNamespace(tell=lambda *said: heard.append(said))
    metrics = SimpleNamespace(admissions=Counter("x", "x", ["reason"], registry=CollectorRegistry()))
    world = SimpleNamespace(synced=True, apps=lambda _: [])
    admission = Admission(world, Settings("i", "https://b", ""), SimpleNamespace(ca="PEM"), metrics, owners)
    admission.review(pod(), "team", dry_run=True)
    assert heard == []
    admission.review(pod(), "team")
    assert len(heard) == 1

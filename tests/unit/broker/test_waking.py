"""A credential that was let lapse while nobody used it, and the queries that wake it."""

import json
from types import SimpleNamespace

import pytest

from cube_oauth.broker import demand, service
from cube_oauth.broker.callers import Workload
from cube_oauth.broker.demand import Demand
from cube_oauth.broker.metrics import Metrics
from cube_oauth.broker.questions import Question
from cube_oauth.broker.service import Service
from cube_oauth.broker.world import World
from cube_oauth.kube.api import KubeError
from cube_oauth.resolver.answers import Caller
from cube_oauth.resolver.metrics import Metrics as ResolverMetrics
from cube_oauth.resolver.service import Resolver
from cube_oauth.settings import Installation
from tests.unit.broker.test_answer import LAPSED, NOW, RING, SPARING, credential

ALICE = Caller("alice", None, None)
INSTALLATION = Installation("co", "co", "tokens", ("team",), "https://portal.example.com")


class Api:
    """An API server that takes writes when it is let."""

    def __init__(self):
        self.broken = False
        self.written = []

    async def merge(self, resource, name, body, namespace, subresource):
        if self.broken:
            raise KubeError(500, "broken", "PATCH")
        self.written.append(body["status"]["demand"])


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(service, "WAKE_SECONDS", 0)
    monkeypatch.setattr(demand, "NEED_INTERVAL", demand.timedelta(0))
    return Api()


@pytest.fixture
def resolver(api):
    """Alice's sidecar, with a broker behind it that knows her lapsed token."""
    world = World(api, INSTALLATION, lambda *_, **__: None, lambda _: None)
    tokens, _, apps, credentials = world.mirrors
    tokens.put(LAPSED.to_kubernetes("tokens"))
    apps.put(SPARING.model_dump(mode="json", by_alias=True))
    credentials.put(credential().model_dump(mode="json", by_alias=True))
    for mirror in world.mirrors:
        mirror.synced.set()
    broker = Service(world, SimpleNamespace(ring=RING), Demand(api, lambda: NOW), Metrics(), lambda: NOW)

    async def resolve(caller):
        return json.dumps(await broker.resolve(Workload("team", "default"), Question(caller.username, None))).encode()

    made = Resolver(SimpleNamespace(resolve=resolve), 300, ResolverMetrics())
    made.connected()
    return made


async def entry(resolver):
    return json.loads(await resolver.resolve(ALICE))["credentials"]["trino"]


async def test_the_next_query_wakes_a_credential_of_which_the_controller_could_not_be_told(resolver, api):
    api.broken = True
    assert (await entry(resolver))["reason"] == "Idle"
    api.broken = False
    await entry(resolver)
    assert api.written == [{"lastUsedAt": "2026-11-23T12:00:00Z"}]


async def test_a_query_wakes_a_credential_again_that_was_not_renewed_the_last_time(resolver, api):
    for _ in range(2):
        assert (await entry(resolver))["reason"] == "Idle"
    assert len(api.written) == 2

"""Leading ends when it must, whatever the API server does."""

import asyncio
import copy
from types import SimpleNamespace

import pytest

from cube_oauth.kube.api import KubeError
from cube_oauth.kube.lease import Lease, Timing

SHORT = Timing(duration=5, renew_within=3, retry=1, request=1)
LONG = Timing(duration=120, renew_within=60, retry=1, request=1)
"""Where leading must not end: a busy machine does not renew in time."""
PATIENCE = 60


class Server:
    """The part of the official client that the lock uses."""

    def __init__(self):
        self.lease = None
        self.hang = False
        self.problem = None

    async def _served(self):
        if self.hang:
            await asyncio.Event().wait()
        if self.problem:
            raise self.problem

    async def read_namespaced_lease(self, name, namespace):
        await self._served()
        return self.lease

    async def replace_namespaced_lease(self, name, namespace, body):
        await self._served()
        self.lease = body


def made_with(timing):
    made = Lease(SimpleNamespace(client=None), "co-controller", "system", "me", timing)
    server = Server()
    server.lease = SimpleNamespace(spec=None, metadata=None)
    made._lock.api_instance = server
    made._release = lambda: asyncio.sleep(0)
    return made, server


@pytest.fixture
def lease():
    return made_with(SHORT)


@pytest.fixture
def lasting():
    return made_with(LONG)


async def leads_until_lost(lease, server, break_it):
    async def work():
        break_it(server)
        await lease.lost.wait()

    await asyncio.wait_for(lease.hold(work, asyncio.Event()), PATIENCE)
    return lease.lost.is_set()


async def test_a_hanging_server_ends_leading(lease):
    assert await leads_until_lost(*lease, lambda server: setattr(server, "hang", True))


@pytest.mark.parametrize("problem", [ConnectionRefusedError(), TimeoutError(), RuntimeError("unforeseen")])
async def test_any_failure_to_renew_ends_leading(lease, problem):
    assert await leads_until_lost(*lease, lambda server: setattr(server, "problem", problem))


async def test_a_lease_that_somebody_else_holds_ends_leading_at_once(lasting):
    """Somebody deleted it, for one, and who stood by was quicker to make it anew: from then on there are two."""

    def taken(server):
        server.lease = copy.deepcopy(server.lease)
        server.lease.spec.holder_identity = "other"

    async with asyncio.timeout(LONG.renew_within / 2):
        assert await leads_until_lost(*lasting, taken)


async def test_one_failed_renewal_does_not_end_leading(lasting):
    made, server = lasting
    failed, renewed = asyncio.Event(), asyncio.Event()
    read, replaced = server.read_namespaced_lease, server.replace_namespaced_lease

    async def refuse(*_):
        failed.set()
        server.read_namespaced_lease = read
        raise ConnectionRefusedError

    async def replace(**wanted):
        await replaced(**wanted)
        renewed.set() if failed.is_set() else None

    async def work():
        server.read_namespaced_lease, server.replace_namespaced_lease = refuse, replace
        await renewed.wait()

    await asyncio.wait_for(made.hold(work, asyncio.Event()), PATIENCE)
    assert not made.lost.is_set()


async def test_a_renewal_that_hangs_beyond_its_bound_ends_leading_all_the_same(lease, monkeypatch):
    """The watchdog alone: the election itself never comes back."""
    made, _ = lease

    async def never(*_):
        await asyncio.Event().wait()

    assert await leads_until_lost(*lease, lambda server: setattr(made._lock, "get", never))


async def test_work_that_ends_by_itself_gives_the_lease_back(lasting):
    made, _ = lasting
    released = []

    async def release():
        released.append(True)

    made._release = release
    await made.hold(lambda: asyncio.sleep(0), asyncio.Event())
    assert released == [True]
    assert not made.lost.is_set()


async def test_a_renewal_that_was_under_way_does_not_keep_the_lease_from_being_given_back():
    """The API server has taken the renewal although nobody waited for its answer: what was read before it is no more."""
    written, refused = [], [KubeError(409, "Conflict", "PUT")]

    class Api:
        client = None

        async def get(self, resource, name, namespace):
            return {"metadata": {"name": name, "namespace": namespace}, "spec": {"holderIdentity": "me"}}

        async def replace(self, resource, body):
            if refused:
                raise refused.pop()
            written.append(body["spec"])

    await Lease(Api(), "co-controller", "system", "me", SHORT)._release()
    assert written == [{}]


async def test_who_is_stopped_before_winning_does_no_work(lease):
    made, server = lease
    server.hang = True
    stop = asyncio.Event()
    stop.set()
    done = []

    async def work():
        done.append(True)

    await asyncio.wait_for(made.hold(work, stop), PATIENCE)
    assert done == []

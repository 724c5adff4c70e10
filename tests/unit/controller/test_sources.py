"""Secrets that are named as service accounts: what is known of each at every moment, and whose app is told."""

import asyncio
from contextlib import suppress

import pytest

from cube_oauth.controller.settings import Settings
from cube_oauth.controller.sources import Sources
from cube_oauth.kube.api import SECRETS, KubeError
from cube_oauth.lifecycle.accounts import Source
from cube_oauth.settings import Environment
from tests.unit.controller.clocks import settle

HERE, VAULT = ("team", "sa"), ("vault", "sa")
TRINO, OTHER = ("team", "trino"), ("team", "other")
CONSENT = {"cubeoauth.dev/service-account-namespaces": "team"}
REFUSED = Source(None, permitted=False)
UNKNOWN, ABSENT = None, Source(None)
NEEDED = {
    "CUBE_OAUTH_NAME": "co",
    "CUBE_OAUTH_NAMESPACES": "*",
    "CUBE_OAUTH_NAMESPACE": "system",
    "CUBE_OAUTH_TOKEN_NAMESPACE": "tokens",
    "CUBE_OAUTH_PORTAL_URL": "https://portal.example.com",
    "CUBE_OAUTH_BROKER_SERVICE": "co-broker",
}


class Server:
    """Secrets by name, how lists and watches are answered, and who watches."""

    def __init__(self):
        self.secrets, self.version = {}, 5
        self.trouble = {}
        """What lists and watches are answered with instead: 403, 500; None: nothing yet."""
        self.watching = {}
        self.asked = []

    async def request(self, method, path, *, query, **_):
        key = self._asked("list", path, query)
        await self._answers("list")
        items = [self.secrets[key]] if key in self.secrets else []
        return {"metadata": {"resourceVersion": str(self.version)}, "items": items}

    async def lines(self, path, query, silence):
        key = self._asked("watch", path, query)
        await self._answers("watch")
        events = self.watching[key] = asyncio.Queue()
        try:
            while event := await events.get():
                yield event
            raise KubeError(0, "ClientPayloadError", "WATCH")
        finally:
            self.watching.pop(key, None)

    def _asked(self, verb, path, query):
        field, _, name = query["fieldSelector"].partition("=")
        assert field == "metadata.name", "only one is asked for"
        key = next(key for key in (HERE, VAULT) if SECRETS.path(key[0]) == path and key[1] == name)
        self.asked.append((verb, key))
        return key

    async def _answers(self, verb):
        trouble = self.trouble.get(verb, 200)
        await (asyncio.Event().wait() if trouble is None else asyncio.sleep(0))
        if trouble >= 400:
            raise KubeError(trouble, "Refused", verb)

    def put(self, key, password, annotations=CONSENT):
        self.version += 1
        meta = {"namespace": key[0], "name": key[1], "resourceVersion": str(self.version), "annotations": annotations}
        self.secrets[key] = {"metadata": meta, "data": {"password": password}}
        self._tell(key, "MODIFIED")

    def delete(self, key):
        self.version += 1
        self.secrets[key]["metadata"]["resourceVersion"] = str(self.version)
        self._tell(key, "DELETED")
        del self.secrets[key]

    def cut(self, key, **trouble):
        """The connection ends, and from then on lists and watches meet this."""
        self.trouble = trouble
        if key in self.watching:
            self.watching[key].put_nowait(None)

    def _tell(self, key, what):
        if key in self.watching:
            self.watching[key].put_nowait({"type": what, "object": self.secrets[key]})


class Bench:
    def __init__(self, permitted=lambda source: True):
        self.server, self.told = Server(), []
        self.sources = Sources(self.server, self.told.append, permitted)
        self.running = asyncio.create_task(self.sources.run())

    def known(self, source=VAULT):
        """What there is to be known, in short: the password with the consent, or a Source without a Secret."""
        found = self.sources.get(source)
        if found is None or found.secret is None:
            return found
        return found.secret["data"]["password"], bool(found.secret["metadata"]["annotations"])

    def news(self):
        """Who was told since this was last asked."""
        told, self.told[:] = list(self.told), []
        return told

    async def end(self):
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running
        await settle()


@pytest.fixture
async def bench(monkeypatch):
    monkeypatch.setattr("cube_oauth.kube.watch.FIRST_PAUSE", 0)
    monkeypatch.setattr("cube_oauth.controller.sources.STEADY_SECONDS", 0)
    made = Bench()
    yield made
    await made.end()


def put(password, annotations=CONSENT):
    return lambda server: server.put(VAULT, password, annotations)


def nothing(server):
    """Time passes."""


def deleted(server):
    server.delete(VAULT)


def cut(**trouble):
    return lambda server: server.cut(VAULT, **trouble)


@pytest.mark.parametrize(
    ("before", "steps", "known"),
    [
        (cut(list=None), [], UNKNOWN),
        (cut(list=500), [], UNKNOWN),
        (nothing, [], ABSENT),
        (put("p1"), [], ("p1", True)),
        (put("p1"), [put("p2")], ("p2", True)),
        (put("p1"), [put("p1", {})], ("p1", False)),
        (put("p1"), [deleted], ABSENT),
        (put("p1"), [deleted, put("p2")], ("p2", True)),
        (cut(list=403), [], REFUSED),
        (put("p1"), [cut(list=403)], REFUSED),
        (put("p1"), [cut(list=403), put("p2"), cut()], ("p2", True)),
        (put("p1"), [cut(watch=403), nothing, nothing], REFUSED),
        (put("p1"), [cut(watch=403), cut()], ("p1", True)),
        (put("p1"), [cut(list=500)], ("p1", True)),
        (put("p1"), [cut(list=500), put("p2"), cut()], ("p2", True)),
        (put("p1"), [cut(list=None), put("p2")], ("p1", True)),
    ],
    ids=[
        "nothing before the first answer",
        "nothing while the API server has trouble of its own",
        "that it is not there",
        "it, when it is there",
        "its newest value",
        "that its consent was withdrawn",
        "that it is gone",
        "it, when it is there again",
        "that it may not be seen",
        "that it may not be seen any more, which is not to say that it is gone",
        "it, once it may be seen again",
        "that it may be listed but not watched, which is as good as not at all",
        "it, once it may be watched again",
        "what it was, while the API server has trouble of its own",
        "it, after such trouble",
        "what it was, while an answer is waited for",
    ],
)
async def test_of_a_secret_that_is_followed_is_known(bench, before, steps, known):
    """And whenever that changes the app is told, and not otherwise."""
    before(bench.server)
    former = UNKNOWN
    for step in (lambda server: bench.sources.follow(TRINO, VAULT), *steps):
        step(bench.server)
        await settle()
        assert set(bench.news()) == ({TRINO} if bench.known() != former else set())
        former = bench.known()
    assert former == known


@pytest.mark.parametrize(
    ("listed", "may"),
    [("", False), ("vault/sa", True), ("team/sa,vault/sa", True), ("vault/other,other/sa", False), ("vault", False), ("*", True)],
    ids=["no name", "its name", "its name among others", "other names", "its namespace alone", "any"],
)
async def test_what_the_chart_does_not_name_is_refused_without_asking_the_api_server(listed, may):
    env = Environment({"CUBE_OAUTH_SERVICE_ACCOUNT_SOURCES": listed, **NEEDED})
    bench = Bench(Settings.read(env).may_watch)
    bench.server.put(VAULT, "p1")
    bench.sources.follow(TRINO, VAULT)
    await settle()
    assert bench.known() == (("p1", True) if may else REFUSED)
    assert bool(bench.server.asked) is may
    await bench.end()


async def test_apps_with_the_same_secret_share_a_watch_and_are_all_told(bench):
    bench.server.put(VAULT, "p1")
    for app in (TRINO, OTHER, TRINO):
        bench.sources.follow(app, VAULT)
    await settle()
    assert bench.server.asked == [("list", VAULT), ("watch", VAULT)]
    assert set(bench.news()) == {OTHER, TRINO}
    bench.sources.follow(OTHER, None)
    bench.server.put(VAULT, "p2")
    await settle()
    assert bench.news() == [TRINO], "the other does not name it any more"


async def test_what_no_app_names_any_more_is_not_watched_any_more_and_forgotten(bench):
    bench.server.put(VAULT, "p1")
    bench.sources.follow(TRINO, VAULT)
    await settle()
    bench.sources.follow(TRINO, HERE)
    await settle()
    assert set(bench.server.watching) == {HERE}
    assert bench.known(VAULT) is UNKNOWN
    assert bench.known(HERE) == ABSENT


async def test_at_the_end_nothing_is_watched_and_nothing_begun(bench):
    bench.sources.follow(TRINO, VAULT)
    await settle()
    await bench.end()
    bench.sources.follow(OTHER, HERE)
    await settle()
    assert bench.server.watching == {}
    assert bench.known(HERE) is UNKNOWN


async def test_a_watch_that_ends_in_an_unforeseen_way_is_no_silence_for_ever(bench):
    """Every other copy ends the process with it, and the next one begins anew."""
    bench.server.put(VAULT, "p1")
    bench.sources.follow(TRINO, VAULT)
    await settle()
    bench.server.watching[VAULT].put_nowait({"type": "MODIFIED"})
    await settle()
    with pytest.raises(KeyError):
        await asyncio.wait_for(bench.running, 5)
    bench.running = asyncio.create_task(asyncio.sleep(0))

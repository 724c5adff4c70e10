"""Rotating the key rings: whatever fails in between, everything stored can be read, by who has heard and by who has not."""

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.keyrings import Keyrings
from cube_oauth.controller.keys import FileRings, KeysLostError, SecretRings, keys_of
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.settings import Settings
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import CONFIG_MAPS, SECRETS, KubeError
from cube_oauth.kube.watch import Mirror
from cube_oauth.lifecycle.revoke import set_aside
from cube_oauth.resources.accounts import AccountRecord, AccountSecret
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.names import ROTATE_ANNOTATION, ROTATION_ANNOTATION
from cube_oauth.resources.secrets import Claim, Reference, RevocationSecret, decode, encode
from cube_oauth.settings import Installation
from tests.unit.controller.clocks import StoppedClock
from tests.unit.controller.fakes import FakeApi, UnansweredError
from tests.unit.lifecycle.samples import token

INSTALLATION = Installation("co", "system", "tokens", ("team",), "https://portal.example.com")
ANNOUNCE = timedelta(minutes=5)
SETTINGS = Settings(INSTALLATION, "me", None, None, ("", 0), 1, keys_announce=ANNOUNCE)
PEOPLE = ("alice", "bob", "carol")
NAMES = ("access", "refresh", "grant", "cookie")


def path(name):
    return SECRETS.path("system", f"co-keys-{name}")


class World:
    """What outlives a process: the API server and time."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr("cube_oauth.controller.keyrings.PAUSE", 0)
        self.api, self.clock = FakeApi(), StoppedClock()
        self.revocations = Mirror(self.api, SECRETS, RevocationSecret.from_kubernetes, namespace="tokens")
        self.revocations.synced.set()
        self.accounts = Mirror(self.api, SECRETS, AccountSecret.from_kubernetes, namespace="tokens")
        self.accounts.synced.set()

    async def begin(self, **people):
        stored = await SecretRings(self.api, INSTALLATION, self.clock).load()
        for name in PEOPLE:
            self.put(name, keys_of(stored), **people.get(name, {}))

    def put(self, name, keys, **changes):
        reference = Reference(namespace="team", name=f"trino-{name}", uid=f"uid-{name}")
        made = token(username=name, credential=reference)
        owner = made.record.owner
        values = {
            "access_token": keys.access.seal(SecretStr(f"access of {name}"), owner),
            "refresh_token": keys.refresh.seal(SecretStr(f"refresh of {name}"), owner),
        }
        made = replace(made, resource_version=None, **{**values, **changes})
        self.api.store(SECRETS.path("tokens", made.name), made.to_kubernetes("tokens"))

    def process(self, rings=None):
        return Running(self, rings)

    def secret(self, name):
        return self.api.objects[path(name)]

    def ring(self, name):
        kind = SealingKey if name == "grant" else Keyring
        return kind.from_json(decode(self.secret(name))["ring"])

    def rotate(self, *names):
        for name in names or NAMES:
            self.secret(name)["metadata"].setdefault("annotations", {})[ROTATE_ANNOTATION] = "now"

    def tokens(self):
        store = TokenStore(self.api, "tokens", lambda new, old: None)
        for where, item in self.api.objects.items():
            if where.startswith(SECRETS.path("tokens")):
                store.mirror.put(item)
        store.mirror.synced.set()
        return store

    def read(self, rings):
        """Who can be read with these rings."""
        found = {}
        for one in self.tokens().mirror.objects.values():
            owner = one.record.owner
            values = rings["access"].open(one.access_token, owner), rings["refresh"].open(one.refresh_token, owner)
            found[one.record.username] = tuple(value.get_secret_value() for value in values)
        return found

    def rings(self):
        return {name: self.ring(name) for name in NAMES}

    def records(self):
        return {one.record.username: one.record for one in self.tokens().mirror.objects.values()}


class Running:
    """A controller's loop; another one knows nothing of it."""

    def __init__(self, world, rings):
        self.world = world
        self.registry = CollectorRegistry()
        self.rings = rings or SecretRings(world.api, INSTALLATION, world.clock)
        self.changes = []
        self.loop = None

    async def look(self):
        if self.loop is None:
            self.tokens, self.keys = self.world.tokens(), keys_of(await self.rings.load())
            self.loop = Keyrings(
                self.world.api,
                SETTINGS,
                self.rings,
                self.keys,
                self.tokens,
                self.world.revocations,
                self.world.accounts,
                Metrics(self.registry),
                self.world.clock,
                self.changes.append,
            )
        await self.loop.look()

    def count(self, name, **labels):
        return self.registry.get_sample_value(f"cube_oauth_controller_{name}", labels)


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


EXPECTED = {name: (f"access of {name}", f"refresh of {name}") for name in PEOPLE}


async def test_every_ring_is_rotated_on_request_and_what_is_stored_follows(world):
    await world.begin()
    old, records, process = world.rings(), world.records(), world.process()
    world.rotate()
    await process.look()
    assert {name: ring.kids[0] for name, ring in world.rings().items()} == {name: ring.kids[0] for name, ring in old.items()}
    assert all(len(ring.kids) == 2 for ring in world.rings().values())
    await world.clock.turn(minutes=5)
    await process.look()
    assert all(ring.kids[1:] == old[name].kids for name, ring in world.rings().items())
    assert world.read({name: ring.without(old[name].kids) for name, ring in world.rings().items()}) == EXPECTED
    assert world.records() == records
    await world.clock.turn(hours=1)
    await process.look()
    assert all(len(ring.kids) == 1 and ring.kids != old[name].kids for name, ring in world.rings().items())
    assert world.read(world.rings()) == EXPECTED


async def test_a_request_that_comes_when_an_old_key_is_about_to_be_dropped_is_not_dropped_with_it(world):
    await world.begin()
    process = world.process()
    world.rotate()
    await process.look()
    await world.clock.turn(minutes=5)
    await process.look()
    await world.clock.turn(hours=1)
    before = world.rings()
    world.rotate()
    for _ in range(3):
        await process.look()
        await world.clock.turn(minutes=5)
    assert all(ring.kids[0] not in before[name].kids for name, ring in world.rings().items())


async def test_how_far_it_is_can_be_seen(world):
    await world.begin()
    process = world.process()
    world.rotate("access")
    counts, said = [], []
    for _ in range(3):
        await process.look()
        said.append(world.secret("access")["metadata"]["annotations"][ROTATION_ANNOTATION])
        counts.append((process.count("ring_keys", ring="access"), process.count("reencrypted_total")))
        await world.clock.turn(minutes=5)
    assert said == [
        "Announced at 2026-11-23T12:00:00Z: a new key opens, and encrypts from 2026-11-23T12:05:00Z on.",
        (
            "Promoted at 2026-11-23T12:05:00Z: the new key encrypts; "
            "the one before is dropped after 2026-11-23T12:10:00Z, once nothing needs it."
        ),
        "Dropped at 2026-11-23T12:10:00Z: the key before is gone; the rotation is complete.",
    ]
    assert counts == [(2, 0), (2, 3), (1, 3)]
    assert ROTATE_ANNOTATION not in world.secret("access")["metadata"]["annotations"]


FAULTS = {
    "refused, and the process ends": (lambda: KubeError(500, "InternalError", "PUT"), True),
    "written, but the answer is lost and the process ends": (UnansweredError, True),
    "written, but the answer is lost": (UnansweredError, False),
    "somebody else wrote first": (lambda: KubeError(409, "Conflict", "PUT"), False),
}


@pytest.mark.parametrize(("fault", "restarts"), FAULTS.values(), ids=FAULTS)
async def test_any_write_may_fail_and_nothing_is_lost(world, fault, restarts):
    """The n-th write of a rotation of all rings fails, for every n: in the end it is complete, and at no time unreadable."""
    await world.begin()
    pristine = dict(world.api.objects)
    number = await writes_of_a_rotation(world, None, fault, restarts=restarts)
    assert number > 4 * 3 + len(PEOPLE)
    for failing in range(number):
        world.api.objects, world.clock = dict(pristine), StoppedClock()
        await writes_of_a_rotation(world, failing, fault, restarts=restarts)


async def writes_of_a_rotation(world, failing, fault, *, restarts):
    numbers = itertools.count()

    def fail_one():
        if next(numbers) == failing:
            world.api.faults.append(fault())

    world.api.before_write = fail_one
    old, process = world.rings(), world.process()
    world.rotate()
    for minutes in (0, 0, 5, 0, 0, 60, 0):
        await world.clock.turn(minutes=minutes)
        laggard = world.rings()  # a broker whose mounted copy is of the time before this look
        try:
            await process.look()
        except KubeError:
            process = world.process() if restarts else process
        assert world.read(world.rings()) == EXPECTED
        assert world.read(laggard) == EXPECTED
    assert all(len(ring.kids) == 1 and ring.kids != old[name].kids for name, ring in world.rings().items())
    return next(numbers)


async def test_a_claimed_secret_is_left_alone_and_comes_later_and_the_old_key_waits_for_it(world):
    await world.begin()
    claim = Claim(id="c", refresh_token_hash="h", deadline=world.clock.now() + timedelta(hours=2))
    world.put("alice", keys_of(await SecretRings(world.api, INSTALLATION, world.clock).load()), claim=claim)
    old, process = world.rings(), world.process()
    world.rotate("access", "refresh")
    for minutes in (0, 5, 60):
        await world.clock.turn(minutes=minutes)
        await process.look()
    assert process.count("reencryption_waiting") == 1
    assert world.ring("refresh").kids[1:] == old["refresh"].kids
    assert world.tokens().get("uid-alice").claim == claim
    await world.clock.turn(hours=2)
    for _ in range(2):
        await process.look()
    assert len(world.ring("refresh").kids) == 1
    assert world.read(world.rings()) == EXPECTED


async def test_what_waits_to_be_revoked_keeps_the_key_that_opens_it(world):
    await world.begin()
    old, gone = world.rings(), world.tokens().get("uid-bob")
    del world.api.objects[SECRETS.path("tokens", gone.name)]
    record = replace_url(gone, "https://idp.example.com/revoke")
    pending = set_aside(record, "CredentialGone", None, None, world.clock.now())
    world.revocations.put(world.api.store(SECRETS.path("tokens", pending.name), pending.to_kubernetes("tokens")))
    del world.api.objects[SECRETS.path("tokens", pending.name)]  # the mirror has it; the list of token Secrets is simpler without
    process = world.process()
    world.rotate("access", "refresh")
    for minutes in (0, 5, 60, 0):
        await world.clock.turn(minutes=minutes)
        await process.look()
    assert {name: len(world.ring(name).kids) for name in ("access", "refresh")} == {"access": 1, "refresh": 2}
    assert world.ring("refresh").kids[1:] == old["refresh"].kids
    world.revocations.discard(("tokens", pending.name))
    await process.look()
    assert len(world.ring("refresh").kids) == 1


def replace_url(token, url):
    return replace(token, record=token.record.model_copy(update={"revocation_url": url}))


async def test_a_damaged_value_is_left_and_does_not_keep_an_old_key_for_ever(world, caplog):
    await world.begin()
    damaged = world.tokens().get("uid-bob")
    damaged = replace(damaged, access_token=f"{damaged.access_token[:-6]}AAAAAA")
    world.api.store(SECRETS.path("tokens", damaged.name), damaged.to_kubernetes("tokens"))
    process = world.process()
    world.rotate("access")
    for minutes in (0, 5, 5, 0):
        await world.clock.turn(minutes=minutes)
        await process.look()
    assert len(world.ring("access").kids) == 1
    assert world.tokens().get("uid-bob").access_token == damaged.access_token
    assert "cannot be opened" in caplog.text


async def test_a_ring_that_somebody_deleted_meanwhile_is_written_again(world):
    await world.begin()
    process = world.process()
    await process.look()
    rings = world.rings()
    for name in NAMES:
        del world.api.objects[path(name)]
    await process.look()
    assert world.rings() == rings


async def test_a_ring_that_is_missing_beside_tokens_stops_with_what_to_do(world):
    await world.begin()
    del world.api.objects[path("refresh")]
    with pytest.raises(KeysLostError, match="kubectl -n system create secret generic co-keys-refresh"):
        await world.process().look()
    assert path("refresh") not in world.api.objects


async def test_an_empty_secret_accepts_the_loss(world):
    await world.begin()
    world.api.store(path("refresh"), {"metadata": {"name": "co-keys-refresh", "namespace": "system"}})
    await world.process().look()
    assert len(world.ring("refresh").kids) == 1


async def test_an_unreadable_ring_is_not_replaced(world):
    await world.begin()
    world.api.store(path("access"), {**world.secret("access"), "data": encode({"ring": "no ring"})})
    with pytest.raises(KeysLostError, match=r"co-keys-access cannot be used .*restore it from a backup"):
        await world.process().look()


async def test_a_ring_that_changed_is_taken_over_and_told(world):
    await world.begin()
    process = world.process()
    await process.look()
    other = Keyring.generate()
    world.api.store(path("access"), {**world.secret("access"), "data": encode({"ring": other.to_json()})})
    await process.look()
    assert process.keys.access == other
    assert len(process.changes) == 1


async def test_the_portals_key_is_the_newest_that_opens(world):
    await world.begin()
    process = world.process()
    world.rotate("grant")
    for minutes in (0, 5):
        await world.clock.turn(minutes=minutes)
        await process.look()
        public = SealingKey.from_json(world.api.objects[CONFIG_MAPS.path("system", "co-grant-key")]["data"]["ring"])
        assert process.keys.grant.open(public.seal(SecretStr("x"))).get_secret_value() == "x"
        assert public.kids[0] == world.ring("grant").kids[0]


# ---- rings from outside


def mount(folder: Path, rings):
    for name, ring in rings.items():
        (folder / name).write_text(ring.to_json())


async def test_mounted_rings_are_followed_and_never_written(world, tmp_path):
    await world.begin()
    old = {name: ring for name, ring in world.rings().items() if name != "cookie"}
    for name in NAMES:
        del world.api.objects[path(name)]
    mount(tmp_path, old)
    process = world.process(FileRings(tmp_path))
    await process.look()
    new = Keyring.generate()
    both = Keyring(type(new.keys)([*new.keys.keys, *old["refresh"].keys.keys]))
    mount(tmp_path, {"refresh": both})
    await process.look()
    assert process.count("reencrypted_total") == 3
    await process.look()
    assert process.count("reencryption_waiting") == 0  # this says that the old key may go
    mount(tmp_path, {"refresh": new})
    await process.look()
    assert world.read({**old, "refresh": new}) == EXPECTED
    assert not [where for where in world.api.objects if "keys-" in where]


async def test_a_ring_that_is_not_mounted_is_asked_for(tmp_path):
    with pytest.raises(KeysLostError, match=r"access cannot be read .*mount it"):
        await FileRings(tmp_path).load()


async def test_a_public_key_alone_is_not_enough_to_open_grants(tmp_path):
    mount(tmp_path, {"access": Keyring.generate(), "refresh": Keyring.generate()})
    (tmp_path / "grant").write_text(SealingKey.generate().to_json(private=False))
    with pytest.raises(KeysLostError, match="private ones"):
        await FileRings(tmp_path).load()


async def test_the_broker_must_not_have_the_key_for_refresh_tokens(tmp_path):
    shared = Keyring.generate()
    mount(tmp_path, {"access": shared, "refresh": shared, "grant": SealingKey.generate()})
    with pytest.raises(KeysLostError, match="in common"):
        keys_of(await FileRings(tmp_path).load())


async def test_the_loop_survives_what_it_meets(world, monkeypatch):
    await world.begin()
    process = world.process()
    await process.look()
    looks = [KubeError(503, "ServiceUnavailable", "GET"), KeysLostError("gone"), None]
    done = asyncio.Event()

    async def look():
        problem = looks.pop(0)
        if problem:
            raise problem
        done.set()

    monkeypatch.setattr(process.loop, "look", look)
    monkeypatch.setattr(process.loop, "_look", 0)
    running = asyncio.create_task(process.loop.run())
    await done.wait()
    running.cancel()


async def test_a_service_account_keeps_the_key_that_opens_it_until_it_is_sealed_anew(world):
    await world.begin()
    old = world.ring("access")
    record = AccountRecord(
        app=Reference(namespace="team", name="trino", uid="uid-app"), variables=("A",), revision=1, issued_at=world.clock.now()
    )

    def publish(ring):
        made = AccountSecret(record, ring.seal(SecretStr("{}"), record.owner))
        world.accounts.put(world.api.store(SECRETS.path("accounts", made.name), made.to_kubernetes("tokens")))

    publish(old)
    process = world.process()
    world.rotate("access")
    for minutes in (0, 5, 60, 0):
        await world.clock.turn(minutes=minutes)
        await process.look()
    assert world.ring("access").kids[1:] == old.kids
    publish(world.ring("access"))
    await process.look()
    assert len(world.ring("access").kids) == 1

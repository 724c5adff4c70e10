"""Rings: the first key encrypts, all open, and what is sealed is bound to its owner."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import OctKey
from pydantic import SecretStr

from cube_oauth.resources.keyring import Keyring, SealError, SealingKey, binding

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOON, LATE = NOW + timedelta(minutes=5), NOW + timedelta(hours=1)
ALICE, BOB = binding("team", "trino", "uid-1", "alice"), binding("team", "trino", "uid-2", "bob")
RINGS = pytest.mark.parametrize("kind", [Keyring, SealingKey])


def opened(ring, value, owner=None):
    return (ring.open(value, owner) if isinstance(ring, Keyring) else ring.open(value)).get_secret_value()


@RINGS
def test_a_rotation_step_by_step_never_leaves_a_value_unreadable(kind):
    old = kind.generate(NOW)
    announced = old.with_announced(NOW, SOON)
    promoted = announced.with_promoted(LATE)
    before, between, later = (ring.seal(SecretStr("x")) for ring in (old, announced, promoted))
    assert [opened(promoted, value) for value in (before, between, later)] == ["x", "x", "x"]
    assert [opened(announced, value) for value in (before, between, later)] == ["x", "x", "x"]  # who has not heard yet
    assert announced.kids[0] == old.kids[0]
    assert promoted.kids == announced.kids[::-1]
    assert (announced.announced, promoted.announced) == (SOON, None)
    assert (promoted.retired(LATE - timedelta(seconds=1)), promoted.retired(LATE)) == ((), old.kids)
    assert promoted.without(old.kids).kids == promoted.kids[:1]


@RINGS
def test_a_ring_read_from_its_json_is_the_same(kind):
    ring = kind.generate(NOW).with_announced(NOW, SOON).with_promoted(LATE).with_announced(SOON, LATE)
    again = kind.from_json(ring.to_json())
    assert (again, again.issued_at, again.announced, again.retired(LATE)) == (ring, NOW, LATE, ring.kids[1:2])


def test_the_public_part_seals_for_the_newest_key_and_opens_nothing():
    ring = SealingKey.generate(NOW).with_announced(NOW, SOON).with_promoted(LATE)
    public = SealingKey.from_json(ring.to_json(private=False))
    assert '"d"' not in public.to_json(private=False)
    assert (ring.opens, public.opens) == (True, False)
    assert ring.kid_of(public.seal(SecretStr("x"))) == ring.kids[0]


def test_a_value_is_opened_for_its_owner_only_and_says_so_without_being_opened():
    ring = Keyring.generate()
    value = ring.seal(SecretStr("x"), ALICE)
    assert (ring.holds(value, ALICE), ring.holds(value, BOB), Keyring.generate().holds(value, ALICE)) == (True, False, False)
    with pytest.raises(SealError, match="moved between Secrets"):
        ring.open(value, BOB)


def test_an_owner_that_was_written_into_the_header_afterwards_is_noticed():
    ring = Keyring.generate()
    mine, others = ring.seal(SecretStr("x"), ALICE), ring.seal(SecretStr("y"), BOB)
    forged = ".".join([others.split(".")[0], *mine.split(".")[1:]])
    assert ring.holds(forged, BOB)
    with pytest.raises(SealError):
        ring.open(forged, BOB)


def test_what_an_older_key_sealed_is_sealed_anew_and_nothing_else():
    old = Keyring.generate(NOW)
    ring = old.with_announced(NOW, SOON).with_promoted(LATE)
    value = old.seal(SecretStr("x"), ALICE)
    anew = ring.sealed_anew(value, ALICE)
    assert (ring.kid_of(anew), opened(ring, anew, ALICE)) == (ring.kids[0], "x")
    for left in (anew, Keyring.generate().seal(SecretStr("x"), ALICE), old.seal(SecretStr("x"), BOB), None):
        assert ring.sealed_anew(left, ALICE) == left


KEY = OctKey.generate_key(256).as_dict(private=True)
WRONG = {
    "no JSON": "keys",
    "no JWK Set": "{}",
    "an empty one": '{"keys": []}',
    "a short key": json.dumps({"keys": [OctKey.generate_key(128).as_dict(private=True)]}),
    "another kind of key": SealingKey.generate().to_json(),
    "two keys of one name": json.dumps(
        {"keys": [{**KEY, "kid": "1"}, {**OctKey.generate_key(256).as_dict(private=True), "kid": "1"}]}
    ),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_no_ring_is_refused_without_being_told(text):
    with pytest.raises(SealError) as refusal:
        Keyring.from_json(text)
    assert KEY["k"] not in str(refusal.value)


def test_the_same_key_under_another_name_is_noticed():
    one, other = (Keyring.from_json(json.dumps({"keys": [{**KEY, "kid": kid}]})) for kid in ("a", "b"))
    assert one.shares_key(other)
    assert not one.shares_key(Keyring.generate())

"""What happens to a key ring next, case by case."""

from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.lifecycle.keys import Policy, Step, after, next_step
from cube_oauth.resources.keyring import Keyring

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = Policy(announce=timedelta(minutes=5), keep=timedelta(hours=1), rotate_after=timedelta(days=90))
NEVER = Policy(POLICY.announce, POLICY.keep)
PLAIN = Keyring.generate(NOW)
UNDATED = Keyring.generate()
ANNOUNCED = PLAIN.with_announced(NOW, NOW + POLICY.announce)
PROMOTED = ANNOUNCED.with_promoted(NOW + POLICY.keep)
AGAIN = PROMOTED.with_announced(NOW, NOW + 2 * POLICY.keep)
OLD = PLAIN.kids[0]

CASES = {
    "nothing to do": (PLAIN, POLICY, NOW, False, (), None),
    "asked for": (PLAIN, NEVER, NOW, True, (), Step.ANNOUNCE),
    "nearly old": (PLAIN, POLICY, NOW + timedelta(days=90) - SECOND, False, (), None),
    "old": (PLAIN, POLICY, NOW + timedelta(days=90), False, (), Step.ANNOUNCE),
    "old, and age does not matter": (PLAIN, NEVER, NOW + timedelta(days=900), False, (), None),
    "of unknown age": (UNDATED, POLICY, NOW, False, (), Step.ANNOUNCE),
    "announced, and not everybody has heard": (ANNOUNCED, POLICY, NOW + POLICY.announce - SECOND, False, (), None),
    "announced, and everybody has heard": (ANNOUNCED, POLICY, NOW + POLICY.announce, False, (), Step.PROMOTE),
    "asked for once more while one is announced": (ANNOUNCED, NEVER, NOW, True, (), None),
    "promoted, and the old key may be needed": (PROMOTED, POLICY, NOW + POLICY.keep - SECOND, False, (), None),
    "promoted, and something is sealed with the old key": (PROMOTED, POLICY, NOW + POLICY.keep, False, (OLD,), None),
    "promoted, and nothing needs the old key": (PROMOTED, POLICY, NOW + POLICY.keep, False, (), Step.DROP),
    "asked for once more while an old key stays": (PROMOTED, NEVER, NOW, True, (), Step.ANNOUNCE),
    "asked for once more when an old key can be dropped": (PROMOTED, NEVER, NOW + POLICY.keep, True, (), Step.ANNOUNCE),
    "announced while an old key can be dropped": (AGAIN, NEVER, NOW + POLICY.keep, False, (), Step.DROP),
}


@pytest.mark.parametrize(("ring", "policy", "now", "requested", "used", "step"), CASES.values(), ids=CASES)
def test_next_for_a_ring_that_is(ring, policy, now, requested, used, step):
    assert next_step(ring, policy, now, requested=requested, used=used) is step


def test_a_key_that_somebody_else_put_into_the_ring_is_never_dropped():
    by_hand = Keyring(type(PLAIN.keys)([*PLAIN.keys.keys, *Keyring.generate().keys.keys]))
    assert next_step(by_hand, NEVER, NOW + timedelta(days=9), requested=False, used=()) is None


def test_a_rotation_ends_with_one_new_key():
    ring, now, steps = PLAIN, NOW, []
    while step := next_step(ring, NEVER, now, requested=not steps, used=()):
        steps.append(step)
        ring = after(step, ring, NEVER, now, ())
        now += NEVER.keep
    assert steps == [Step.ANNOUNCE, Step.PROMOTE, Step.DROP]
    assert len(ring.kids) == 1
    assert ring.kids != PLAIN.kids

import os
from datetime import UTC, datetime

import pytest

from cube_oauth.portal.cookies import LARGEST, CookieTooLargeError, RingFile, SealedCookie
from cube_oauth.portal.session import Pending, Session
from cube_oauth.resources.keyring import Keyring, SealError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def cookie(ring, name="__Host-a"):
    return SealedCookie(name, Session, lambda: ring)


def test_what_was_sealed_is_opened_again():
    jar, session = cookie(Keyring.generate()), Session.begin("alice", ("analysts",), NOW)
    assert jar.opened(jar.sealed(session)) == session


def test_nothing_of_the_session_can_be_read_from_outside():
    value = cookie(Keyring.generate()).sealed(Session.begin("alice", (), NOW))
    assert "alice" not in value


@pytest.mark.parametrize("position", [5, 60, -5])
def test_one_changed_character_makes_it_nothing(position):
    jar = cookie(Keyring.generate())
    value = jar.sealed(Session.begin("alice", (), NOW))
    changed = "A" if value[position] != "A" else "B"
    end = value[position + 1 :] if position != -1 else ""
    assert jar.opened(value[:position] + changed + end) is None


@pytest.mark.parametrize("value", ["", "x", "a.b.c.d.e", "é", "{}", "eyJhbGciOiJub25lIn0.."])
def test_what_is_no_cookie_of_ours_is_nothing(value):
    assert cookie(Keyring.generate()).opened(value) is None


def test_a_cookie_of_another_ring_is_nothing():
    value = cookie(Keyring.generate()).sealed(Session.begin("alice", (), NOW))
    assert cookie(Keyring.generate()).opened(value) is None


def test_a_cookie_under_another_name_is_nothing():
    ring = Keyring.generate()
    value = cookie(ring).sealed(Session.begin("alice", (), NOW))
    assert cookie(ring, "__Host-b").opened(value) is None


def test_a_cookie_that_no_browser_would_keep_is_not_made():
    groups = tuple(f"group-{number:040}" for number in range(100))
    with pytest.raises(CookieTooLargeError):
        cookie(Keyring.generate()).sealed(Session.begin("alice", groups, NOW))


def test_the_largest_names_still_leave_room_for_several_tabs():
    jar = SealedCookie("__Host-p", Pending, Keyring.generate)
    item = Pending(
        purpose="connect",
        nonce="n" * 32,
        verifier="v" * 64,
        began=2_000_000_000,
        namespace="n" * 63,
        app="a" * 63,
        client="c" * 26,
        session="s" * 26,
    )
    assert 3 * len(jar.sealed(item)) <= LARGEST


def touch(path, text, moment):
    path.write_text(text)
    os.utime(path, ns=(moment, moment))


def test_a_rotated_ring_is_read_without_a_restart(tmp_path):
    path, old, new = tmp_path / "ring", Keyring.generate(), Keyring.generate()
    touch(path, old.to_json(), 1)
    ring = RingFile(path)
    sealed = cookie(ring()).sealed(Session.begin("alice", (), NOW))
    touch(path, new.to_json(), 2)
    assert cookie(ring()).opened(sealed) is None


def test_a_broken_ring_leaves_the_one_before(tmp_path):
    path, old = tmp_path / "ring", Keyring.generate()
    touch(path, old.to_json(), 1)
    ring = RingFile(path)
    before = ring()
    touch(path, "{", 2)
    assert ring() is before
    path.unlink()
    assert ring() is before


def test_without_any_ring_nothing_starts(tmp_path):
    path = tmp_path / "ring"
    with pytest.raises(OSError, match="ring"):
        RingFile(path)()
    path.write_text("{}")
    with pytest.raises(SealError):
        RingFile(path)()

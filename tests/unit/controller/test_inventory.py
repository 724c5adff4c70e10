"""What is known of the objects."""

from datetime import UTC, datetime

from cube_oauth.controller.inventory import Inventory
from cube_oauth.resources.usercredential import UserCredential, UserCredentialStatus
from tests.unit.lifecycle.samples import app


def credential(name, *, created="2026-01-01T00:00:00Z", version="1", uid=None, username="alice", state=None):
    return UserCredential.model_validate(
        {
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": uid or f"uid-{name}",
                "creationTimestamp": created,
                "resourceVersion": version,
            },
            "spec": {"username": username, "oauthAppRef": {"name": "trino"}},
            "status": {"state": state} if state else {},
        }
    )


def test_an_older_version_than_what_our_own_write_was_answered_is_ignored():
    inventory = Inventory()
    assert inventory.take_credential(credential("a", version="9", state="Active"))
    assert not inventory.take_credential(credential("a", version="8"))
    assert inventory.counts(("team", "trino")).active == 1


def test_another_object_of_the_same_name_is_another_object():
    inventory = Inventory()
    inventory.take_credential(credential("a", version="9", uid="first"))
    assert inventory.take_credential(credential("a", version="2", uid="second"))


def test_what_had_the_name_before_does_not_come_back():
    """A list, or the answer to a write, that is on its way while somebody deletes the object and makes it anew."""
    inventory = Inventory()
    before, now = (credential("a", created=f"2026-0{month}-01T00:00:00Z", version=f"{month}", uid=f"{month}") for month in (1, 2))
    assert inventory.take_credential(now)
    assert not inventory.take_credential(before)
    old, new = (app().model_copy(update={"metadata": one.metadata}) for one in (before, now))
    assert inventory.take_app(new)
    assert not inventory.take_app(old)


def test_the_echo_of_our_own_write_is_known_and_what_came_after_it_is_not():
    inventory = Inventory()
    inventory.take_credential(credential("a", version="9", uid="first"))
    known = [inventory.knows_credential(("team", "a"), uid, version) for uid, version in (("first", "9"), ("first", "8"))]
    news = [inventory.knows_credential(("team", "a"), uid, version) for uid, version in (("first", "10"), ("second", "3"))]
    assert known == [True, True]
    assert news == [False, False]
    assert not inventory.knows_credential(("team", "b"), "first", "9")


def test_the_oldest_of_several_counts_and_of_one_age_the_first_name():
    inventory = Inventory()
    young, b, a = credential("young", created="2026-02-01T00:00:00Z"), credential("b"), credential("a")
    for one in (young, b, a):
        inventory.take_credential(one)
    assert [inventory.duplicate(one) for one in (young, b, a)] == [True, True, False]


def test_another_person_is_no_duplicate():
    inventory = Inventory()
    inventory.take_credential(credential("a"))
    inventory.take_credential(credential("b", username="bob"))
    assert not inventory.duplicate(credential("b", username="bob"))


def test_what_is_gone_is_counted_no_more():
    inventory = Inventory()
    inventory.take_credential(credential("a", state="Active"))
    inventory.take_credential(credential("b", state="Expired"))
    inventory.drop_credential(("team", "a"))
    counts = inventory.counts(("team", "trino"))
    assert (counts.active, counts.expired) == (0, 1)
    assert inventory.of_app(("team", "trino")) == {("team", "b")}


def ending(name, app, **status):
    one = credential(name)
    reference = one.spec.oauth_app_ref.model_copy(update={"name": app})
    parsed = UserCredentialStatus.model_validate(status)
    return one.model_copy(update={"spec": one.spec.model_copy(update={"oauth_app_ref": reference}), "status": parsed})


def test_what_ends_soonest_is_told_for_each_app_and_an_expired_token_ends_no_more():
    inventory = Inventory()
    soon = {"type": "SignInEnding", "status": "True", "reason": "WithinADay"}
    for one in (
        ending("a", "trino", state="Active", expiresAt="2026-01-02T00:00:00Z", refreshTokenExpiresAt="2026-02-02T00:00:00Z"),
        ending("b", "trino", state="Active", expiresAt="2026-01-01T00:00:00Z", conditions=[soon]),
        ending("c", "trino", state="Expired", expiresAt="2025-01-01T00:00:00Z", conditions=[soon]),
        ending("d", "snowflake", state="Active", expiresAt="2026-01-03T00:00:00Z", refreshTokenExpiresAt="2026-02-01T00:00:00Z"),
        ending("e", "dremio", state="Pending"),
    ):
        inventory.take_credential(one)
    trino, snowflake = ("team", "trino"), ("team", "snowflake")
    assert inventory.soonest_expiry() == {trino: datetime(2026, 1, 1, tzinfo=UTC), snowflake: datetime(2026, 1, 3, tzinfo=UTC)}
    assert inventory.soonest_sign_in_end() == {trino: datetime(2026, 2, 2, tzinfo=UTC), snowflake: datetime(2026, 2, 1, tzinfo=UTC)}
    assert inventory.ending() == {(trino, "WithinADay"): 2}

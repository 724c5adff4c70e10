"""What service accounts fill in Cube's environment, and what becomes of a token that the warehouse refused."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from cube_oauth.broker.environment import filled, unopened, variables
from cube_oauth.broker.questions import AccountRejection, Refusal
from cube_oauth.broker.service import Service
from cube_oauth.lifecycle.accounts import fetched, published, withdrawn
from cube_oauth.resources.accounts import AccountSecret, values_to_text
from cube_oauth.resources.keyring import Keyring
from tests.unit.lifecycle.samples import NOW, app

RING = Keyring.generate()


def account(owner=None, **values):
    secret = published(app(), None, values, NOW, None)
    return AccountSecret(secret.record, RING.seal(SecretStr(values_to_text(values)), owner or secret.record.owner))


def test_a_value_by_variable():
    assert variables(account(A="x", B="y"), RING) == {"A": "x", "B": "y"}


def test_one_that_was_withdrawn_is_taken_back_by_name():
    assert variables(withdrawn(account(A="x", B="y"), "SourceNotFound", NOW), RING) == {"A": None, "B": None}


def test_what_cannot_be_opened_says_nothing_so_that_pods_keep_what_they_have():
    assert variables(account(A="x"), Keyring.generate()) == {}
    assert variables(account(owner="another", A="x"), RING) == {}


def test_a_key_that_has_not_come_yet_is_noticed():
    assert unopened(account(A="x"), Keyring.generate())
    assert not unopened(account(A="x"), RING)
    assert not unopened(withdrawn(account(A="x"), "SourceNotFound", NOW), Keyring.generate())


def token(variable="TOKEN", revision=1):
    """A service account that the operator fetched."""
    made = account(**{variable: f"token-{revision}"})
    record = fetched(made, "asked", timedelta(hours=1), 900).record
    return AccountSecret(record.model_copy(update={"revision": revision}), made.values)


def test_a_revision_is_said_of_what_can_be_fetched_anew_only():
    found = filled([account(PASS="p"), token(revision=4), withdrawn(token("GONE"), "SourceNotFound", NOW)], RING)
    assert found.to_json() == {"values": {"PASS": "p", "TOKEN": "token-4", "GONE": None}, "revisions": {"TOKEN": 4}}


def test_of_two_that_fill_one_variable_the_first_counts_with_its_revision():
    assert filled([account(TOKEN="copied"), token()], RING).to_json() == {"values": {"TOKEN": "copied"}}
    assert filled([token(revision=2), token(revision=9)], RING).revisions == {"TOKEN": 2}


class World:
    synced = True

    def __init__(self, *found):
        self.found = found

    def serves(self, namespace):
        return namespace == "team"

    def accounts(self, workload, apps):
        return [(app(), one) for one in self.found]


class Demand:
    def __init__(self):
        self.rejected = []

    async def account_rejected(self, app, revision):
        self.rejected.append((app.metadata.name, revision))


@pytest.mark.parametrize(
    ("found", "variable", "revision", "expected", "rejected"),
    [
        ([token(revision=4)], "TOKEN", 4, True, [("trino", 4)]),
        ([token(revision=5)], "TOKEN", 4, True, []),
        ([account(TOKEN="copied")], "TOKEN", 1, False, []),
        ([token(revision=4)], "OTHER", 4, False, []),
        ([account(TOKEN="copied"), token(revision=4)], "TOKEN", 4, False, []),
        ([], "TOKEN", 4, False, []),
    ],
    ids=[
        "it is asked for when the present token was refused",
        "a newer one is on its way already",
        "nobody can fetch what somebody keeps",
        "it fills no such variable",
        "it does not fill this variable, because an older app does",
        "there is no service account",
    ],
)
async def test_whether_another_token_is_to_be_waited_for(found, variable, revision, expected, rejected):
    demand = Demand()
    service = Service(World(*found), SimpleNamespace(ring=RING), demand, None)
    answer = await service.invalidate_account(SimpleNamespace(namespace="team"), AccountRejection(variable, revision, None))
    assert (answer, demand.rejected) == ({"expected": expected}, rejected)


async def test_a_pod_of_a_namespace_that_is_not_served_has_nothing_fetched():
    demand = Demand()
    service = Service(World(token()), SimpleNamespace(ring=RING), demand, None)
    with pytest.raises(Refusal):
        await service.invalidate_account(SimpleNamespace(namespace="elsewhere"), AccountRejection("TOKEN", 1, None))
    assert demand.rejected == []

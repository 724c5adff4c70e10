"""What a service account fills in Cube's environment."""

from pydantic import SecretStr

from cube_oauth.broker.environment import unopened, variables
from cube_oauth.lifecycle.accounts import published, withdrawn
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

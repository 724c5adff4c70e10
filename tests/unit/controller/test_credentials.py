"""What a look at a credential does, step by step."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from cube_oauth.controller.budget import Backoff, Budget
from cube_oauth.controller.credentials import TIDY, Credentials
from cube_oauth.controller.inventory import Inventory, key_of
from tests.unit.controller.clocks import StoppedClock
from tests.unit.lifecycle.samples import HOUR, app, credential, token


class Rotation:
    """A refresh that leaves things as they are, so that another one is due at once."""

    def __init__(self):
        self.refreshes, self.meanwhile = 0, lambda: None

    async def refresh(self, observed, for_rejection):
        self.refreshes += 1
        self.meanwhile()

    def released_claim(self, uid):
        return None


class Quiet(Credentials):
    """Publishes to the test only."""

    published = 0

    async def _publish(self, observed):
        self.published += 1
        return True


@pytest.fixture
def rotation():
    return Rotation()


@pytest.fixture
def credentials(rotation):
    inventory = Inventory()
    inventory.take_app(app(refresh={"requestsPerSecond": 1000}))
    inventory.take_credential(credential(rejected=5))
    return Quiet(
        api=None,
        installation=None,
        inventory=inventory,
        apps=SimpleNamespace(known=lambda _: True, ready=lambda _: True, not_before=lambda *_: None),
        tokens=SimpleNamespace(get=lambda _: token()),
        keys=SimpleNamespace(opens=lambda _: (True, True)),
        rotation=rotation,
        revocations=None,
        budget=Budget(),
        backoff=Backoff(),
        events=None,
        clock=StoppedClock(),
        counted=lambda _: None,
        saw=None,
    )


async def test_what_is_due_again_is_done_again_but_not_for_ever(credentials, rotation):
    await credentials.reconcile(key_of(credential().metadata))
    assert 1 < rotation.refreshes < 10
    assert credentials.published == 1


async def test_a_token_that_ended_while_nobody_was_there_is_replaced_at_once(credentials):
    credentials._tokens = SimpleNamespace(get=lambda _: token(age=2 * HOUR))
    assert await credentials.reconcile(key_of(credential().metadata)) == credentials._clock.now()
    assert credentials.published == 1, "marked as ended first"


async def test_a_token_that_ended_and_cannot_be_replaced_now_is_tidied_up_after_others_are_marked(credentials):
    credentials._tokens = SimpleNamespace(get=lambda _: token(age=2 * HOUR))
    credentials._backoff.hold(key_of(credential().metadata), credentials._clock.now() + timedelta(minutes=1))
    assert await credentials.reconcile(key_of(credential().metadata)) == credentials._clock.now() + TIDY


async def test_a_warehouse_that_asks_for_patience_holds_up_the_refreshes_that_need_it(credentials):
    later = credentials._clock.now() + timedelta(minutes=5)
    credentials._backoff.hold("https://warehouse.example.com:443", later)
    assert credentials.observe(key_of(credential().metadata)).not_before is None
    credentials._tokens = SimpleNamespace(get=lambda _: token(exchange_url="https://warehouse.example.com/oauth/token"))
    assert credentials.observe(key_of(credential().metadata)).not_before == later


async def test_a_process_that_is_to_end_finishes_what_it_has_begun_and_begins_nothing_else(credentials, rotation):
    rotation.meanwhile = credentials.end
    await credentials.reconcile(key_of(credential().metadata))
    assert (rotation.refreshes, credentials.published) == (1, 1)

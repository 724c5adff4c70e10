"""How fast a real provider is asked when everybody is due at once: counted where the requests arrive.

A count for each stretch of time, and no duration: on a busy machine requests come later, never sooner than the budget has it. What
was held up on its way, however long, may arrive in a bunch: no more than there are workers, each of which has one on its way.
"""

from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from cube_oauth.resources.secrets import TokenSecret
from tests.control_plane.harness import APPS, PATIENCE, eventually

pytestmark = pytest.mark.control_plane

PEOPLE = [f"person-{number}" for number in range(50)]
PER_SECOND = 10
STRETCH = 2.0
"""Seconds."""
WORKERS = 4
MOST = PER_SECOND * STRETCH + WORKERS + 2
"""Requests in a stretch: the budget, what was held up, and the burst."""


def all_are_due(installation):
    """Nobody is active: with the next start, all tokens of an hour are fifty minutes old."""
    installation.age(timedelta(minutes=50), "issued_at", "expires_at")


def most_in_a_stretch(arrivals):
    """The greatest number of requests in any stretch."""
    return max((bisect_left(arrivals, at + STRETCH) - index for index, at in enumerate(arrivals)), default=0)


def everybody_is_newer_than(installation, revision):
    tokens = [TokenSecret.from_kubernetes(item) for item in installation.stored("token")]
    return len(tokens) == len(PEOPLE) and all(token.record.revision > revision for token in tokens)


@pytest.fixture
def everybody(installation, provider):
    """Connected, with tokens of an hour; nobody is active."""
    provider.control.lifetimes(accessToken=3600)
    controller = installation.start()
    installation.app(subject={"source": "None"})
    with ThreadPoolExecutor(4) as pool:  # whose account it is does not matter here
        list(pool.map(lambda person: installation.authorize(person, as_person="alice"), PEOPLE))
    eventually(lambda: everybody_is_newer_than(installation, 0), say=installation.tell)
    controller.terminate()
    path = f"{APPS.format(installation.tenant)}/trino"
    installation.kube.patch(path, {"spec": {"refresh": {"requestsPerSecond": PER_SECOND}}})
    return installation


def test_a_restart_and_an_outage_with_everybody_due_stay_within_the_budget_at_the_provider(everybody, provider):
    all_are_due(everybody)
    provider.control.reset_stats()
    controller = everybody.start(CUBE_OAUTH_WORKERS=str(WORKERS))
    eventually(lambda: everybody_is_newer_than(everybody, 1), say=everybody.tell)
    arrivals = provider.control.arrivals()
    assert len(arrivals) == len(PEOPLE)  # nobody was asked twice
    assert most_in_a_stretch(arrivals) <= MOST

    controller.terminate()
    all_are_due(everybody)
    provider.control.reset_stats()
    provider.control.fail(10_000, status=503)
    everybody.start(CUBE_OAUTH_WORKERS=str(WORKERS))
    eventually(lambda: provider.control.stats()["injected"] >= 3, say=everybody.tell)
    during = len(provider.control.arrivals())
    provider.control.heal()
    eventually(lambda: everybody_is_newer_than(everybody, 2), 2 * PATIENCE, say=everybody.tell)
    arrivals = provider.control.arrivals()
    assert most_in_a_stretch(arrivals) <= MOST
    assert most_in_a_stretch(arrivals[:during]) <= MOST / 2  # each failure slows it down
    stats = provider.control.stats()
    assert stats["issued"] == {"refresh_token": len(PEOPLE)}
    assert (stats["redeemedTwice"], stats["refused"]) == (0, {})

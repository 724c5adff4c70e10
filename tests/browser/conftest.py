"""One portal and one browser for the module: playwright must have ended before another module uses asyncio."""

import os
from pathlib import Path

import pytest

from tests.browser.people import NoBrowserError, Person, chromium, executable
from tests.browser.world import World
from tests.parts.provider import PASSWORD


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.control_plane)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    try:
        executable()
    except NoBrowserError as error:
        pytest.fail(f"{error}; or set CHROMIUM to a browser", pytrace=False)
    with World(tmp_path_factory.mktemp("portal")) as made:
        made.add_app("trino", displayName="Trino")
        made.add_app("lake", displayName="Data lake")
        yield made


@pytest.fixture(scope="module")
def browser(world):
    with chromium() as running:
        yield running


@pytest.fixture
def person(world, browser):
    """Makes people; each starts with nothing connected, and what they look at last is kept when the test fails."""
    made = []

    def make(username=None, **how):
        someone = Person(browser, **how)
        made.append(someone)
        someone.portal = world.url
        if username:
            someone.log_in(world.url, username, PASSWORD)
        return someone

    yield make
    for someone in made:
        someone.close()
    world.cluster.kubectl("delete", "usercredentials", "--all", "-n", "analytics")


@pytest.fixture
def impatient(world):
    """The portal makes nobody wait: what is not done after a second, the page says."""
    world.restart_portal(patience=1)
    yield
    world.restart_portal()


@pytest.fixture
def gallery(tmp_path):
    """Where pictures are kept: the folder in SCREENSHOTS, or this test's own."""
    return Path(os.environ.get("SCREENSHOTS") or tmp_path)


@pytest.fixture
def alice(person):
    return person("alice")

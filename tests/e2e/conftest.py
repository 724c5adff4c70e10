"""One node with everything on it, for the whole session: building it costs more than all its tests."""

import pytest

from tests.browser.people import chromium
from tests.cluster import available, cluster_for
from tests.e2e.story import Story
from tests.e2e.world import World, in_cluster

TOKEN_SECONDS = 20


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    if reason := available():
        pytest.skip(f"no node here: {reason}")
    with cluster_for("node", "test") as cluster:
        built = World(cluster, tmp_path_factory.mktemp("world"), token_seconds=TOKEN_SECONDS)
        built.build(in_cluster(cluster))
        yield built


@pytest.fixture(scope="module")  # while it is open, no asyncio test can run in this thread
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def story(world, browser, tmp_path_factory):
    # a busy machine may take its time; how long it takes is what `make bench` measures
    return Story(world, browser, tmp_path_factory.mktemp("screenshots"), tell=lambda step: None, obeys=5)

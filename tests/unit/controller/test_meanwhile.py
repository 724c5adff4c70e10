"""What others write into a credential while its status is written: its answer tells of it, and the watch will not again."""

import pytest

from cube_oauth.kube.api import USER_CREDENTIALS
from tests.unit.controller.clocks import START
from tests.unit.controller.test_herd import World
from tests.unit.lifecycle.samples import HOUR, MINUTE

PATH = USER_CREDENTIALS.path("team", "person-0")


@pytest.mark.parametrize(
    ("meanwhile", "becomes"),
    [({"spec": {"suspend": True}}, ("Revoked", 1)), ({"status": {"demand": {"rejectedRevision": 6}}}, ("Active", 2))],
    ids=["suspended", "refused by the warehouse"],
)
async def test_it_is_acted_upon(meanwhile, becomes):
    world = World(1, age=2 * HOUR)

    def write():
        known = world.api.objects[PATH]
        if world.asked and world.api.writes[-1] == ("PATCH", PATH):  # the status that tells of the first refresh
            world.api.before_write = lambda: None
            world.api.store(PATH, {**known, **{part: {**known.get(part, {}), **change} for part, change in meanwhile.items()}})

    world.api.before_write = write
    await world.run(START + 10 * MINUTE)
    assert (world.api.objects[PATH]["status"]["state"], len(world.asked)) == becomes

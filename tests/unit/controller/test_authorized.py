"""What a credential's status says of the last authorization."""

from datetime import timedelta

from cube_oauth.kube.api import USER_CREDENTIALS
from cube_oauth.resources.meta import Condition
from tests.unit.controller.clocks import START
from tests.unit.controller.test_herd import World
from tests.unit.lifecycle.samples import HOUR

UID = "uid-0"
DONE = Condition(type="Authorized", status="True", reason="Authorized", message="m", last_transition_time=START)


def said(world):
    status = world.api.objects[USER_CREDENTIALS.path("team", "person-0")]["status"]
    return [one["reason"] for one in status["conditions"] if one["type"] == "Authorized"]


async def test_how_an_authorization_went_is_published_also_when_it_ended_while_the_status_was_written():
    world = World(1, age=2 * HOUR)
    write = world.api.apply

    async def meanwhile(*arguments, **more):
        world.api.apply = write
        world.credentials.authorized(UID, DONE)
        return await write(*arguments, **more)

    world.api.apply = meanwhile
    await world.run(START + timedelta(seconds=10))
    assert said(world) == []
    await world.credentials.reconcile(("team", "person-0"))
    assert said(world) == ["Authorized"]


async def test_once_published_it_stays():
    world = World(1, age=2 * HOUR)
    world.credentials.authorized(UID, DONE)
    await world.run(START + timedelta(hours=3))
    assert said(world) == ["Authorized"]

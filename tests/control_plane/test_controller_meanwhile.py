"""What others write into an object while the controller writes its status: the answer brings it before the watch does."""

import pytest

from tests.control_plane.harness import CREDENTIALS, eventually

pytestmark = pytest.mark.control_plane

PEOPLE = 300
"""So many that some are likely to be suspended between the list and their first status, before the watch has begun.

In each second run or so it is seen when nobody looks at the answer; the unit tests see it in each.
"""


def test_whoever_is_suspended_while_a_controller_starts_is_suspended(installation):
    installation.start()
    installation.app()
    installation.controllers[-1].terminate()
    names = [f"person-{number}" for number in range(PEOPLE)]
    for name in names:
        installation.credential(username=name, name=name)
    path = CREDENTIALS.format(installation.tenant)
    controller = installation.start(active=None)
    while '"active"' not in controller.log.read_text():  # it lists next, and watches last
        assert controller.child.poll() is None, installation.tell()
    for name in sorted(names, reverse=True):  # the statuses are written in the order of the list
        installation.kube.patch(f"{path}/{name}", {"spec": {"suspend": True}})

    def left():
        return [one["metadata"]["name"] for one in installation.kube.items(path) if one.get("status", {}).get("state") != "Revoked"]

    eventually(lambda: not left(), say=lambda: f"{left()}\n{installation.tell()}")

"""1,000 credentials that end in the same second: withheld at once by the sidecar, and marked by the controller soon after."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cube_oauth.kube.api import USER_CREDENTIALS, Api
from tests.bench.installation import NAMESPACE, Installation
from tests.bench.resolve import answer_to, question, sidecar
from tests.bench.results import Result

PEOPLE = 1000
LIFETIME = timedelta(seconds=60)
"""Long enough for all to be connected, published and asked for once before."""

PATIENCE = 60


def measure(installation: Installation) -> list[Result]:
    """No credential has a refresh token, so nothing can be done but to end in time."""
    people = [f"ending-{number}" for number in range(PEOPLE)]
    with installation.process("controller") as controller:
        controller.wait_ready()
        installation.connect(*people, lifetime=LIFETIME, refreshable=False)
        installation.settle()
        ends = max(datetime.fromisoformat(item["status"]["expiresAt"]) for item in installation.credentials())
        with sidecar(installation) as (socket, _):
            late, marked = asyncio.run(_watched(installation, socket, people, ends))
    return [
        Result("ended_1000_served_after", late, 0, "tokens served after their end, of 1,000 that end in the same second"),
        Result("ended_1000_marked_seconds", marked, 5, "until all of them are marked as expired, in seconds"),
    ]


async def _watched(installation: Installation, socket: Path, people: list[str], ends: datetime) -> tuple[int, float]:
    async with Api.connect(str(installation.cluster.kubeconfig)) as api:
        marked = asyncio.create_task(_all_marked(api, set(people)))
        late = await _served_late(socket, people, ends)
        return late, (await asyncio.wait_for(marked, PATIENCE) - ends).total_seconds()


async def _all_marked(api: Api, waiting: set[str]) -> datetime:
    """When the last credential was seen as Expired, by a watch."""
    path = USER_CREDENTIALS.path(NAMESPACE)
    async for event in api.lines(path, {"watch": "true", "resourceVersion": "0"}, 120):
        item = event["object"]
        if (item.get("status") or {}).get("state") == "Expired":
            waiting.discard(item["spec"]["username"])
        if not waiting:
            break
    return datetime.now(UTC)


async def _served_late(socket: Path, people: list[str], ends: datetime) -> int:
    """Answers with a token to questions that were asked after the end; everybody is asked for from before until well after it."""
    late = served = number = 0
    reader, writer = await asyncio.open_unix_connection(socket, limit=2**20)
    until = ends + timedelta(seconds=2)
    while datetime.now(UTC) < until:
        for username in people:
            number += 1
            asked = time.time()
            writer.write(question(number, username))
            answer = await answer_to(reader)
            active = answer["result"]["credentials"]["trino"]["status"] == "active"
            served += active
            late += active and asked >= ends.timestamp()
        await asyncio.sleep(0.2)
    writer.close()
    if not served:
        raise RuntimeError("no token was served before the end: the measurement would say nothing")
    return late

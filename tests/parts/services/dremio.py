"""Dremio's REST API (v3), as much as Cube's driver uses of it; a person's access token is a bearer token."""

import itertools
from pathlib import Path

from tests.parts.services import Reply, Request, Service, columns

# A token that is none of its own, or has ended, is a bare 401.
EXPIRED = Reply(401, {"errorMessage": "Unauthorized", "moreInfo": ""})
NO_PRIVILEGE = "PERMISSION ERROR: User [alice] not authorized to access table [orders]"
NO_TABLE = "VALIDATION ERROR: Object 'orders' not found"


class Dremio(Service):
    """One coordinator; a failure of a statement is the error message of its job."""

    unknown = EXPIRED

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._numbers = itertools.count(1)
        self._jobs: dict[str, tuple[list[str], str | None]] = {}

    def answer(self, request: Request) -> Reply:
        who, refusal = self.shown(request.headers.get("authorization", "").removeprefix("Bearer "), "bearer")
        if refusal:
            return refusal
        path = request.path.split("?", maxsplit=1)[0].removeprefix("/api/v3/")
        if path == "catalog":
            return Reply(200, {"data": []})
        if path == "sql":
            job, statement = f"job-{next(self._numbers)}", request.json()["sql"]
            self._jobs[job] = columns(statement) or ["result"], self.failure(who, statement)
            return Reply(200, {"id": job})
        names, failure = self._jobs[path.split("/")[1]]
        if path.endswith("/results"):
            return Reply(200, {"rowCount": 1, "rows": [dict.fromkeys(names, who)]})
        state = {"jobState": "FAILED", "errorMessage": failure} if failure else {"jobState": "COMPLETED"}
        return Reply(200, state | {"rowCount": 1})

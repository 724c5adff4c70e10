"""BigQuery's REST API (v2), as much as Cube's driver uses of it; a person's access token is a bearer token."""

from pathlib import Path

from tests.parts.services import Reply, Request, Service, columns

PROJECT = "a-project"
DONE = {"status": {"state": "DONE"}}


def _error(code: int, status: str, message: str, reason: str) -> Reply:
    """Return an error as Google's APIs do."""
    error = {"message": message, "domain": "global", "reason": reason}
    return Reply(code, {"error": {"code": code, "message": message, "errors": [error], "status": status}})


# "Error messages" of BigQuery's documentation, and what the service answers to an ended token.
EXPIRED = _error(
    401,
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication "
    "credential.",
    "authError",
)
NO_PRIVILEGE = _error(
    403,
    "PERMISSION_DENIED",
    "Access Denied: Table a-project:d.orders: User does not have permission to query table a-project:d.orders, or perhaps it does "
    "not exist in location US.",
    "accessDenied",
)
NO_COLUMN = _error(400, "INVALID_ARGUMENT", "Unrecognized name: credentials at [1:8]", "invalidQuery")


class BigQuery(Service):
    """One project."""

    unknown = EXPIRED

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._jobs: dict[str, list[str]] = {}

    def answer(self, request: Request) -> Reply:
        who, refusal = self.shown(request.headers.get("authorization", "").removeprefix("Bearer "), "bearer")
        if refusal:
            return refusal
        path = request.path.split("?", maxsplit=1)[0].removeprefix(f"/bigquery/v2/projects/{PROJECT}/")
        if path == "datasets":
            return Reply(200, {"datasets": []})
        if (request.method, path) == ("POST", "jobs"):
            wanted = request.json()
            statement = wanted["configuration"]["query"]["query"]
            self._jobs[wanted["jobReference"]["jobId"]] = columns(statement) or ["result"]
            return self.failure(who, statement) or Reply(200, DONE | {"jobReference": wanted["jobReference"] | {"location": "US"}})
        kind, _, job = path.partition("/")
        if kind == "jobs":
            return Reply(200, DONE | {"jobReference": {"projectId": PROJECT, "jobId": job, "location": "US"}})
        names = self._jobs[job]
        schema = {"fields": [{"name": name, "type": "STRING"} for name in names]}
        rows = [{"f": [{"v": who} for _ in names]}]
        return Reply(200, {"jobComplete": True, "schema": schema, "rows": rows, "totalRows": "1"})

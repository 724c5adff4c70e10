"""ClickHouse's HTTP interface, as much as @clickhouse/client uses of it; a person's access token is the password."""

import base64

from tests.parts.services import Reply, Request, Service, columns

VERSION = "(version 25.8.2.29 (official build))"


def _exception(status: int, code: int, message: str, name: str) -> Reply:
    """Return an exception in the server's own form."""
    headers = {"X-ClickHouse-Exception-Code": str(code), "Content-Type": "text/plain; charset=UTF-8"}
    return Reply(status, f"Code: {code}. DB::Exception: {message} ({name}) {VERSION}\n".encode(), headers)


# Codes and statuses are those of ClickHouse's src/Common/ErrorCodes.cpp and src/Server/HTTP/exceptionCodeToHTTPStatus.cpp.
REFUSED = _exception(
    403,
    516,
    "alice: Authentication failed: password is incorrect, or there is no user with such name.",
    "AUTHENTICATION_FAILED",
)
NO_TABLE = _exception(404, 60, "Unknown table expression identifier 'orders' in scope SELECT 1 FROM orders.", "UNKNOWN_TABLE")
NO_PRIVILEGE = _exception(
    403,
    497,
    "alice: Not enough privileges. To execute this query, it's necessary to have the grant SELECT(id) ON default.orders.",
    "ACCESS_DENIED",
)


class ClickHouse(Service):
    """One server."""

    unknown = REFUSED

    def answer(self, request: Request) -> Reply:
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        user, _, password = base64.b64decode(credential).decode().partition(":")
        who, refusal = self.shown(password, scheme, user=user)
        failure = refusal or self.failure(who, request.body.decode())
        if failure:
            return failure
        statement = request.body.decode()
        names = columns(statement) or ["1"]
        meta = [{"name": name, "type": "String"} for name in names]
        row = [who for _ in names] if "FORMAT JSONCompact" in statement else dict.fromkeys(names, who)  # Cube 1.7, and before
        return Reply(200, {"meta": meta, "data": [row], "rows": 1, "statistics": {}})

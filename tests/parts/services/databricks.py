"""A SQL warehouse of Databricks: Thrift over HTTPS (TCLIService), as much as databricks-jdbc 3.4 speaks of it, and its REST API."""

import itertools
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts.services import Reply, Request, Service, columns
from tests.parts.services.thrift import Value, call, flag, i32, i64, reply, sequence, struct, text

PROTOCOL = 42249  # SPARK_CLI_SERVICE_PROTOCOL_V9
SUCCESS, ERROR = 0, 3  # TStatusCode
FINISHED = 2  # TOperationState
STRING_TYPE = 7  # TTypeId
COLUMNS = 1  # TSparkRowSetType.COLUMN_BASED_SET


@dataclass(frozen=True)
class Refusal:
    """An HTTP status with Databricks' words."""

    status: int
    code: str
    message: str


# What an ended or unknown OAuth token gets (databricks-sdk-java#104), and what something that is no token gets.
INVALID = Refusal(403, "403", "Invalid access token.")
UNSUPPORTED = Refusal(401, "401", "Credential was not sent or was of an unsupported type for this API.")


@dataclass(frozen=True)
class Failure:
    """How a statement fails."""

    state: str
    message: str


NO_TABLE = Failure("42P01", "[TABLE_OR_VIEW_NOT_FOUND] The table or view `orders` cannot be found. SQLSTATE: 42P01")
NO_PRIVILEGE = Failure(
    "42501",
    "[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\nUser does not have permission SELECT on table 'orders'. SQLSTATE: 42501",
)


class Databricks(Service):
    """One SQL warehouse, at `url`."""

    unknown = INVALID
    warehouse = "abc123def456"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._clock = itertools.count(1)
        self._statements: dict[bytes, Callable[[], Value]] = {}
        self.open: dict[bytes, str] = {}

    @property
    def url(self) -> str:
        """As documented, but that Cube's driver 1.7.43 wants a SQL warehouse in httpPath; the port is ours."""
        path = f"/sql/1.0/warehouses/{self.warehouse}"
        return f"jdbc:databricks://localhost:{self.port}/default;transportMode=http;ssl=1;httpPath={path};AuthMech=3;UID=token"

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what makes the Java in Cube's process trust the certificate."""
        store = folder / "trusted.p12"
        if not store.exists():
            named = [
                "-alias",
                "tests",
                "-file",
                self.certificate.ca,
                "-keystore",
                store,
                "-storetype",
                "PKCS12",
                "-storepass",
                "tests!",
            ]
            subprocess.run(["keytool", "-importcert", "-noprompt", *named], check=True, capture_output=True)
        trust = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=tests!"
        return {"JAVA_TOOL_OPTIONS": trust}

    def open_sessions(self, who: str) -> int:
        """Count the sessions of a person that nobody has closed."""
        return list(self.open.values()).count(who)

    def answer(self, request: Request) -> Reply:
        rest = request.path == f"/api/2.0/sql/warehouses/{self.warehouse}"
        if not rest and request.path != f"/sql/1.0/warehouses/{self.warehouse}":
            return Reply(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "not in the stand-in"})
        method, number, arguments = ("", 0, {}) if rest else call(request.body)
        _, _, token = request.headers.get("authorization", "").partition("Bearer ")
        who, refusal = self.shown(token, "REST" if rest else method)
        if refusal:
            thrift = {"X-ThriftServer-Error-Message": refusal.message}
            return Reply(refusal.status, {"error_code": refusal.code, "message": refusal.message}, thrift)
        if rest:
            return Reply(200, {"id": self.warehouse, "state": "RUNNING", "health": {"status": "HEALTHY"}})
        result = self._result(method, arguments.get(1, {}), who)
        return Reply(200, reply(method, number, result), {"Content-Type": "application/x-thrift"})

    def _result(self, method: str, arguments: dict[int, Any], who: str) -> Value:
        status = struct({1: i32(SUCCESS)})
        if method == "OpenSession":
            session = uuid.uuid4().bytes
            self.open[session] = who
            return struct({1: status, 2: i32(PROTOCOL), 3: struct({1: _handle(session), 3329: i32(PROTOCOL)})})
        if method == "CloseSession":
            self.open.pop(arguments[1][1][1], None)
        if method == "ExecuteStatement":
            return self._execute(arguments[2].decode(), who)
        return struct({1: status})

    def _execute(self, statement: str, who: str) -> Value:
        failure = self.failure(who, statement)
        if failure:
            return struct({1: struct({1: i32(ERROR), 3: text(failure.state), 5: text(failure.message)})})
        now = str(next(self._clock))
        row = {name: now if name.endswith("asked_at") else who for name in columns(statement) or ["result"]}
        operation = struct({1: _handle(uuid.uuid4().bytes), 2: i32(0), 3: flag(True)})
        return struct({1: struct({1: i32(SUCCESS)}), 2: operation, 1281: _direct_results(row)})


def _handle(identifier: bytes) -> Value:
    return struct({1: text(identifier), 2: text(identifier)})


def _direct_results(row: dict[str, str]) -> Value:
    """Return TSparkDirectResults with a row of strings, complete and closed."""
    status = struct({1: i32(SUCCESS)})
    kind = struct({1: sequence(struct({1: struct({1: i32(STRING_TYPE)})}))})
    described = [struct({1: text(name), 2: kind, 3: i32(place)}) for place, name in enumerate(row, 1)]
    metadata = struct({1: status, 2: struct({1: sequence(*described)}), 1281: i32(COLUMNS)})
    values = [struct({7: struct({1: sequence(text(value)), 2: text(b"\0")})}) for value in row.values()]
    empty = Value(15, b"\x0c\0\0\0\0")
    rows = struct({1: status, 2: flag(False), 3: struct({1: i64(0), 2: empty, 3: sequence(*values)}), 1281: metadata})
    finished = struct({1: status, 2: i32(FINISHED)})
    return struct({1: finished, 2: metadata, 3: rows, 4: struct({1: status})})

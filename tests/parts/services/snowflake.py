"""Snowflake's log-in and statements, as much as snowflake-sdk 3.3 speaks of them."""

import itertools
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.parts.services import Reply, Request, Service, columns

Code = tuple[str, str]

# The service's own codes and words; the codes are in snowflake-sdk's gs_errors.js and Snowflake's documentation of OAuth errors.
INVALID: Code = ("390303", "Invalid OAuth access token. ")
EXPIRED: Code = ("390318", "OAuth access token expired. ")
PASSWORD: Code = ("390100", "Incorrect username or password was specified.")
KEY: Code = ("390144", "JWT token is invalid. ")
ROLE: Code = (
    "390317",
    (
        "The role requested in the connection, or the default role if none was requested in the connection ('{role}'), is not "
        "listed in the Access Token or was filtered. Please specify another role, or contact your OAuth Authorization server "
        "administrator."
    ),
)
SESSION_EXPIRED: Code = ("390112", "Your session has expired. Please login again.")
SESSION_GONE: Code = ("390111", "Session no longer exists.  New login required to access the service.")
SESSION_INVALID: Code = ("390104", "Session token is invalid.")
MASTER_EXPIRED: Code = ("390114", "Authentication token has expired.  The user must authenticate again.")
NO_TABLE: Code = ("002003", "SQL compilation error:\nObject 'ORDERS' does not exist or not authorized.")
NO_PRIVILEGE: Code = ("003001", "SQL access control error:\nInsufficient privileges to operate on table 'ORDERS'")


@dataclass
class Session:
    """What one log-in opened."""

    who: str
    open: bool = True
    used: bool = False
    ends_with: Code | None = None
    renewal: Code | None = None


class Snowflake(Service):
    """One account; `sessions` holds every session there was, the newest last."""

    unknown = INVALID

    def __init__(self, folder: Path, account: str):
        self.host = f"{account.lower()}.snowflakecomputing.com"
        super().__init__(folder, self.host)
        self.account = account
        self.roles: dict[str, set[str]] = {}
        self.closing: Code | None = None
        self.renewed = 0
        self._by_token: dict[str, Session] = {}
        self._clock = itertools.count(1)

    @property
    def sessions(self) -> list[Session]:
        return list({id(session): session for session in self._by_token.values()}.values())

    def open_sessions(self, who: str) -> int:
        """Count the sessions of a person that nobody has closed."""
        return sum(session.open and session.who == who for session in self.sessions)

    def end_sessions(self, who: str, code: Code, renewal: Code | None = None) -> None:
        """Answer whatever comes in the open sessions of a person with this, and their renewal with that."""
        for session in self.sessions:
            if session.who == who and session.open:
                session.ends_with, session.renewal = code, renewal

    def answer(self, request: Request) -> Reply:
        url = urlsplit(request.path)
        if url.path == "/session/v1/login-request":
            return self._log_in(request.json()["data"], parse_qs(url.query).get("roleName", [""])[0])
        if url.path == "/telemetry/send":
            return _success({})
        session = self._by_token.get(request.headers.get("authorization", "").partition('"')[2].rstrip('"'))
        return self._in_session(url.path, session, request) if session else _failure(SESSION_INVALID)

    def _in_session(self, path: str, session: Session, request: Request) -> Reply:
        if path == "/session/token-request":
            return self._renew(session)
        if path == "/session":
            return self._close(session)
        if session.ends_with or not session.open:
            return _failure(session.ends_with or SESSION_GONE)
        session.used = True
        return self._run(session.who, request.json()["sqlText"])

    def _log_in(self, data: dict[str, Any], role: str) -> Reply:
        if data.get("AUTHENTICATOR") == "OAUTH":
            who, refusal = self.shown(data["TOKEN"], "OAUTH", role=role)
        else:
            who, refusal = self.shown(f"{data['LOGIN_NAME']}:{data['PASSWORD']}", "password", role=role)
        if not refusal and role and role not in self.roles.get(who, {role}):
            refusal = (ROLE[0], ROLE[1].format(role=role))
        if refusal:
            return refusal if isinstance(refusal, Reply) else _failure(refusal)
        return _success(self._tokens(Session(who)) | {"sessionId": len(self._by_token), "parameters": []})

    def _tokens(self, session: Session) -> dict[str, Any]:
        token, master = (secrets.token_urlsafe(40) for _ in range(2))
        self._by_token |= {token: session, master: session}
        self.said += [token, master]
        return {"token": token, "masterToken": master, "validityInSeconds": 3600, "masterValidityInSeconds": 14400}

    def _renew(self, session: Session) -> Reply:
        if session.renewal:
            return _failure(session.renewal)
        session.ends_with = None
        self.renewed += 1
        tokens = self._tokens(session)
        new = {"sessionToken": tokens["token"], "validityInSecondsST": 3600, "validityInSecondsMT": 14400}
        return _success({"masterToken": tokens["masterToken"]} | new)

    def _close(self, session: Session) -> Reply:
        if self.closing and session.used:
            return _failure(self.closing)
        session.open = False
        return _success({})

    def _run(self, who: str, statement: str) -> Reply:
        failure = self.failure(who, statement)
        if failure:
            return _failure(failure)
        now = str(next(self._clock))
        names = columns(statement) or ["status"]
        row = [now if name.endswith("asked_at") else who for name in names]
        types = [
            {"name": name, "type": "text", "nullable": True, "length": 255, "precision": None, "scale": None} for name in names
        ]
        result = {"parameters": [], "rowtype": types, "rowset": [row], "total": 1, "returned": 1, "queryResultFormat": "json"}
        return _success(result | {"queryId": str(uuid.uuid4()), "statementTypeId": 4096, "version": 1})


def _success(data: dict[str, Any]) -> Reply:
    return Reply(200, {"data": data, "code": None, "message": None, "success": True})


def _failure(code: Code) -> Reply:
    number, message = code
    words = f"{message}[{uuid.uuid4()}]" if message.endswith(". ") else message
    return Reply(200, {"data": {"sqlState": "08001", "loginName": None}, "code": number, "message": words, "success": False})

"""A real PostgreSQL in which everybody has a role of their own; the role's password is the person's access token."""

import base64
import contextlib
import hashlib
import hmac
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.parts import prepared
from tests.parts.processes import Process, free_port

DATABASE = "warehouse"
SERVICE = "cube_service_account"
ADMINISTRATOR = "administrator"
ACCOUNT = "postgres"  # Debian's package makes it; root itself is refused by PostgreSQL

# Nothing here outlives a test, so that nothing need reach the disk.
SETTINGS = {
    "fsync": "off",
    "log_connections": "on",
    "log_disconnections": "on",
    "max_connections": "2000",
}
ACCESS = f"local all {ADMINISTRATOR} trust\nhost all all all scram-sha-256\n"


def programs() -> Path:
    """Return the folder with PostgreSQL's programs, of the newest version there is; as root, Debian's is installed."""
    prepared.require("psql")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parents[1].name))
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb:
        raise prepared.MissingToolError("initdb not found: apt-get install postgresql")
    return Path(initdb).parent


class Postgres:
    """The server as a local process, for the length of a `with` block; started by root, it is run by `postgres`.

    `address` is where it listens; `service` is the password of the service account, the role `SERVICE`.
    """

    def __init__(self, *, address: str = "127.0.0.1", port: int | None = None):
        self.address = address
        self.port = free_port(port)

    def __enter__(self) -> Self:
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # a socket's path is short, and /tmp open to the account
        self.log = self._folder / "postgres.log"
        self._account = ["setpriv", "--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups"] if os.geteuid() == 0 else []
        if self._account:
            os.chown(self._folder, pwd.getpwnam(ACCOUNT).pw_uid, pwd.getpwnam(ACCOUNT).pw_gid)
        data = self._folder / "data"
        self._run("initdb", "--no-sync", "--auth=trust", f"--username={ADMINISTRATOR}", "--encoding=UTF8", f"--pgdata={data}")
        (data / "pg_hba.conf").write_text(ACCESS)
        where = {"listen_addresses": self.address, "port": str(self.port)}
        settings = SETTINGS | where | {"unix_socket_directories": str(self._folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*self._account, str(self._programs / "postgres"), "-D", str(data), *options]
        self.process = Process("Postgres", command, log=self.log, env={}, cwd=self._folder)
        try:
            self.process.wait_until(self._answers, seconds=90)
            self.sql(f"CREATE DATABASE {DATABASE}", database="postgres")
            self.service = self.token(SERVICE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGINT)  # SIGTERM would wait until all clients have gone
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """Return what Cube's driver reads to be the service account."""
        return {
            "CUBEJS_DB_TYPE": "postgres",
            "CUBEJS_DB_HOST": self.address,
            "CUBEJS_DB_PORT": str(self.port),
            "CUBEJS_DB_NAME": DATABASE,
            "CUBEJS_DB_USER": SERVICE,
            "CUBEJS_DB_PASS": self.service,
        }

    def token(self, *roles: str, end: bool = False) -> str:
        """Give these roles a new password, all at once, and return it; the one before opens no connection any more.

        Connections that are open stay open (as with access tokens), unless `end`.
        """
        token = f"token-{secrets.token_urlsafe(24)}"
        wanted, kept = ", ".join(f"('{role}')" for role in roles), _verifier(token)
        made = f"""
            BEGIN;
            SELECT format('%s ROLE %I LOGIN PASSWORD %L', CASE WHEN rolname IS NULL THEN 'CREATE' ELSE 'ALTER' END, name, '{kept}')
            FROM (VALUES {wanted}) AS wanted (name) LEFT JOIN pg_roles ON rolname = name \\gexec
            COMMIT;
        """
        self.sql(made)
        if end:
            self._end(f"usename IN (VALUES {wanted})")
        return token

    def _end(self, which: str) -> None:
        """End these connections, and wait until they are gone: PostgreSQL only asks them to go."""
        ended = [pid for [pid, _] in self.sql(f"SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}")]
        there = f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({', '.join(ended)})"
        patience = time.monotonic() + 60
        while ended and self.sql(there) != [["0"]]:
            if time.monotonic() > patience:
                raise RuntimeError(f"{len(ended)} connections do not end")
            time.sleep(0.05)

    def backends(self, pattern: str = "%") -> Counter[str]:
        """Count the open connections of the roles whose names are LIKE the pattern."""
        rows = self.sql(
            f"SELECT usename FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename LIKE '{pattern}' "
            f"AND usename <> '{ADMINISTRATOR}'"
        )
        return Counter(name for [name] in rows)

    def users_of(self, application: str) -> set[str]:
        """Return the roles that the program with this PGAPPNAME is connected as now."""
        return {name for [name] in self.sql(f"SELECT usename FROM pg_stat_activity WHERE application_name = '{application}'")}

    def log_ins(self, role: str) -> tuple[int, int]:
        """Return how many log-ins of this role were accepted, and how many refused, as the server's own log has it."""
        said = self.log.read_text(errors="replace")
        accepted = said.count(f"connection authorized: user={role} ")
        return accepted, said.count(f'password authentication failed for user "{role}"')

    def waiting(self, role: str) -> int:
        """Count this role's queries that wait for a lock, see `held`."""
        [[count]] = self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND wait_event = 'advisory'")
        return int(count)

    @contextlib.contextmanager
    def held(self, number: int) -> Iterator[None]:
        """Let every query that asks for the advisory lock of this number wait until the block ends."""
        command = self._psql(DATABASE)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
            assert session.stdin
            assert session.stdout
            session.stdin.write(f"SELECT 'held' FROM pg_advisory_lock({number});\n")
            session.stdin.flush()
            try:
                assert session.stdout.readline() == "held\n"
                yield
            finally:
                session.stdin.close()

    def sql(self, statements: str, *, database: str = DATABASE) -> list[list[str]]:
        """Run statements as the administrator and return the rows of all of them as text."""
        done = subprocess.run(self._psql(database), input=statements, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return [line.split("|") for line in done.stdout.splitlines()]

    def _psql(self, database: str) -> list[str]:
        where = [f"--host={self._folder}", f"--port={self.port}", f"--username={ADMINISTRATOR}", f"--dbname={database}"]
        return ["psql", "--quiet", "--tuples-only", "--no-align", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *where]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._account, str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def _answers(self) -> bool:
        where = ["--quiet", f"--host={self._folder}", f"--port={self.port}"]
        return subprocess.run([self._programs / "pg_isready", *where], check=False).returncode == 0


def _verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password (RFC 5803): made once here, where it would be made anew for each role."""
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt64}${stored64}:{server64}"

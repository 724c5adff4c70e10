"""A real Trino that lets people in by JWT: `Warehouse` runs it here; `image_content`, `environment` are for a pod."""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.parts import prepared, web
from tests.parts.certificates import Certificate, self_made
from tests.parts.images import ImageContent
from tests.parts.processes import Process, free_port

HERE = Path(__file__).parent
CONTAINER_FOLDER = "/opt/warehouse"
CONTAINER_DATA = "/var/lib/warehouse"
CONTAINER_PORT = 8443
CONTAINER_INTERNAL_PORT = 8080
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


class RefusedError(Exception):
    """Trino did not let the caller in; `status` is 401 for a bad token."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class QueryFailedError(Exception):
    """Trino let the caller in, and the statement failed."""


def prepare() -> Path:
    """Return the folder with Trino's jars (lib) and our class (classes), downloaded and compiled the first time."""
    return prepared.folder("warehouse", [HERE / "pom.xml", HERE / "Warehouse.java"], _fill)


def _fill(target: Path) -> None:
    prepared.require("mvn", "javac")
    shutil.copy(HERE / "pom.xml", target)
    prepared.say("Trino's jars from Maven")
    prepared.run(["mvn", "-q", "-B", COPY_JARS, f"-DoutputDirectory={target}/lib", "-DincludeScope=runtime"], target)
    prepared.run(["javac", "-d", "classes", "-cp", "lib/*", str(HERE / "Warehouse.java")], target)


def environment(
    *,
    issuer: str,
    jwks: str,
    tls: tuple[str, str],
    jwks_ca: str | None = None,
    audience: str = "warehouse",
    address: str = "0.0.0.0",
    port: int = CONTAINER_PORT,
    internal_port: int = CONTAINER_INTERNAL_PORT,
    folder: str = CONTAINER_DATA,
) -> dict[str, str]:
    """Return the environment that Warehouse.java reads.

    Args:
        issuer: `iss` that a token must have.
        jwks: Address (http or https) of the issuer's keys, asked at the start: it must answer by then.
        tls: Paths of certificate and key (PEM).
        jwks_ca: Path of the authority (PEM) to trust for a JWKS over https.
        audience: `aud` that a token must have.
        address: Address to listen at.
        port: For https.
        internal_port: For the node itself.
        folder: Made and written to: configuration and data.
    """
    return {
        "WAREHOUSE_ISSUER": issuer,
        "WAREHOUSE_JWKS": jwks,
        "WAREHOUSE_TLS_CERT": tls[0],
        "WAREHOUSE_TLS_KEY": tls[1],
        "WAREHOUSE_AUDIENCE": audience,
        "WAREHOUSE_ADDRESS": address,
        "WAREHOUSE_PORT": str(port),
        "WAREHOUSE_INTERNAL_PORT": str(internal_port),
        "WAREHOUSE_FOLDER": folder,
        **({"WAREHOUSE_JWKS_CA": jwks_ca} if jwks_ca else {}),
    }


def image_content() -> ImageContent:
    """Return what a pod needs; it has to set the variables of `environment`. GET /v1/info says when it is ready."""
    prepared_folder = prepare()
    return ImageContent(
        folders=[
            (prepared_folder / "lib", f"{CONTAINER_FOLDER}/lib"),
            (prepared_folder / "classes", f"{CONTAINER_FOLDER}/classes"),
        ],
        command=_command(Path(CONTAINER_FOLDER)),
        ports={"https": CONTAINER_PORT},
        writable=[CONTAINER_DATA, "/tmp"],
    )


def _command(folder: Path) -> list[str]:
    return [
        "java",
        "-Xmx1g",
        "-Djdk.attach.allowAttachSelf=true",
        "-Dfile.encoding=UTF-8",  # Trino refuses to start in a pod's empty locale
        "-cp",
        f"{folder}/classes:{folder}/lib/*",
        "Warehouse",
    ]


def ready(base_url: str, ca: Path | None = None) -> bool:
    """Say whether Trino at this address has started."""
    try:
        answer = web.request("GET", f"{base_url}/v1/info", ca=ca, timeout=5)
    except OSError:
        return False
    return answer.status == 200 and answer.json()["starting"] is False


def query(base_url: str, token: str, sql: str, *, ca: Path | None = None, user: str | None = None) -> list[list[Any]]:
    """Run one statement as the token's subject and return its rows.

    `user` is the name sent beside the token, as drivers do. Raises `RefusedError` or `QueryFailedError`.
    """
    headers = {"Authorization": f"Bearer {token}"} | ({"X-Trino-User": user} if user else {})
    answer = _answer(web.request("POST", f"{base_url}/v1/statement", body=sql.encode(), headers=headers, ca=ca))
    rows = answer.get("data", [])
    while "nextUri" in answer:
        answer = _answer(web.request("GET", answer["nextUri"], headers=headers, ca=ca))
        rows += answer.get("data", [])
    return rows


def _answer(answer: web.Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise RefusedError(answer.status, answer.text)
    content = answer.json()
    if "error" in content:
        raise QueryFailedError(content["error"]["message"])
    return content


class Warehouse:
    """Trino as a local process on 127.0.0.1, for the length of a `with` block.

    It asks the issuer for its keys when it starts, so the issuer has to run by then. It makes its own certificate when
    it is given none.
    """

    def __init__(
        self,
        *,
        issuer: str,
        jwks: str | None = None,
        jwks_ca: Path | None = None,
        audience: str = "warehouse",
        folder: Path | None = None,
        port: int | None = None,
        certificate: Certificate | None = None,
    ):
        self.port = free_port(port)
        self.url = f"https://127.0.0.1:{self.port}"
        self._folder = folder or Path(tempfile.mkdtemp(prefix="warehouse-"))
        self.certificate = certificate or self_made(self._folder / "tls", "127.0.0.1", "localhost")
        self.ca = self.certificate.ca
        self.environment = environment(
            issuer=issuer,
            jwks=jwks or f"{issuer}/jwks",
            jwks_ca=str(jwks_ca) if jwks_ca else None,
            audience=audience,
            tls=(str(self.certificate.cert), str(self.certificate.key)),
            address="127.0.0.1",
            port=self.port,
            internal_port=free_port(),
            folder=str(self._folder / "trino"),
        )

    def __enter__(self) -> Self:
        jars = prepare()
        prepared.require("java")
        log = self._folder / "trino.log"
        self.process = Process("Trino", _command(jars), log=log, env=self.environment)
        try:
            self.process.wait_until(lambda: ready(self.url, self.ca), seconds=180)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stop()

    def query(self, token: str, sql: str, *, user: str | None = None) -> list[list[Any]]:
        """Run one statement as the token's subject and return its rows."""
        return query(self.url, token, sql, ca=self.ca, user=user)

"""What the hook's tests meet: the warehouses that say who asks (Trino with its issuer, PostgreSQL), and the resolver."""

from collections.abc import Iterator

import pytest

from tests.hook.drivers import Canaries
from tests.hook.issuer import ISSUER, Issuer
from tests.hook.resolver import FakeResolver
from tests.parts.postgres import Postgres
from tests.parts.warehouse import Warehouse


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    made = Issuer(tmp_path_factory.mktemp("issuer"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def warehouse(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    with Warehouse(issuer=ISSUER, jwks=issuer.jwks, folder=tmp_path_factory.mktemp("trino")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeResolver]:
    with FakeResolver(tmp_path_factory.mktemp("socket") / "resolver.sock") as running:
        yield running


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()

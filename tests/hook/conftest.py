"""The warehouses that the hook's tests ask whom they see: Trino with its issuer, and PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.hook.issuer import ISSUER, Issuer
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

"""The API is what its OpenAPI document says: requests made from the document, good ones and bad ones, and every answer compared."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from cube_oauth.kube.api import USER_CREDENTIALS
from cube_oauth.portal.limits import LimitSettings
from cube_oauth.portal.openapi import TOKEN_HEADER
from cube_oauth.portal.session import SESSION_COOKIE

from .conftest import credential_of
from .served import running

APPS = ("trino", "lake")
PATIENCE = 60
"""Seconds for one answer; schemathesis has ten."""
SEARCH = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def place():
    with running(limits=LimitSettings(person_burst=10_000, address_burst=10_000)) as made:
        for number, name in enumerate(APPS):
            made.app(name, number)
            credential = credential_of("alice", f"app-{number:02}", name=name, status={"state": "Active", "scopes": ["openid"]})
            made.api.put(USER_CREDENTIALS, credential)
        yield made


@pytest.fixture(scope="module")
def operations(place):
    document = schemathesis.openapi.from_url(f"{place.url}/api/openapi.json")
    return [found.ok() for found in document.get_all_operations()]


def asked(operations, mode, ask):
    """Ask with what the document permits (positive) or forbids (negative); which operations there were."""
    for operation in operations:
        try:
            cases = operation.as_strategy(generation_mode=mode)
            SEARCH(given(case=cases)(ask))()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, operation.label  # nothing can be wrong where nothing is asked for


def as_alice(place, case):
    cookie, token = place.session("alice")
    headers = {name: value for name, value in (case.headers or {}).items() if name != TOKEN_HEADER}
    own = {"Origin": place.url, "Sec-Fetch-Site": "same-origin", **({TOKEN_HEADER: token} if TOKEN_HEADER in case.headers else {})}
    return {"cookies": {SESSION_COOKIE: cookie}, "headers": {**headers, **own}}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_api_is_what_its_document_says(operations, place, mode):
    statuses = set()

    def ask(case):
        if mode is GenerationMode.POSITIVE and case.path_parameters:
            case.path_parameters = {"namespace": "analytics", "app": "app-00"}
        answer = case.call(**as_alice(place, case), timeout=PATIENCE)
        statuses.add(answer.status_code)
        case.validate_response(answer, excluded_checks=[ignored_auth, negative_data_rejection])  # the session is always good

    asked(operations, mode, ask)
    assert {200, 204} <= statuses or mode is GenerationMode.NEGATIVE


def test_without_a_session_every_answer_is_a_described_problem(operations):
    def ask(case):
        answer = case.call(timeout=PATIENCE)
        case.validate_response(answer)
        assert answer.status_code == (401 if case.method == "GET" else 403)
        assert answer.json()["reason"] in ("SessionOver", "ForeignForm")

    asked(operations, GenerationMode.POSITIVE, ask)

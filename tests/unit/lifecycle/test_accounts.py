"""Service accounts, decided: who may be copied, when a token is fetched, what is written."""

import base64
from datetime import timedelta

import pytest

from cube_oauth.lifecycle.accounts import (
    YOUNGEST_REJECTED,
    Source,
    asked,
    copied_values,
    due,
    fetch_at,
    fetched,
    published,
    spread,
    withdrawn,
)
from cube_oauth.lifecycle.apps import Problem
from cube_oauth.providers import account_env
from cube_oauth.resources.accounts import AccountSecret, is_target, target_secret, values_from_text, values_to_text
from cube_oauth.resources.oauthapp import OAuthAppStatus
from tests.unit.lifecycle.samples import HOUR, NOW, app

CONSENT = "cubeoauth.dev/service-account-namespaces"


def source(*, consent=None, **data):
    annotations = {CONSENT: consent} if consent is not None else {}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return Source({"metadata": {"name": "sa", "annotations": annotations}, "data": encoded})


def with_account(**account):
    return app(serviceAccount={"env": {"CUBEJS_DB_PASS": "password"}, **account})


def values(found, **ref):
    made = with_account(secretRef={"name": "sa", **ref})
    return copied_values(made, made.spec.service_account.secret_ref, account_env(made), found)


@pytest.mark.parametrize(
    ("ref", "found", "outcome"),
    [
        ({}, source(password="p"), {"CUBEJS_DB_PASS": "p"}),
        ({"namespace": "team"}, source(password="p"), {"CUBEJS_DB_PASS": "p"}),
        ({"namespace": "vault"}, source(consent="other, team", password="p"), {"CUBEJS_DB_PASS": "p"}),
        ({"namespace": "vault"}, source(password="p"), "SourceNotConsented"),
        ({"namespace": "vault"}, source(consent="other,teams,*", password="p"), "SourceNotConsented"),
        ({"namespace": "vault"}, source(consent="", password="p"), "SourceNotConsented"),
        ({}, Source(None), "SourceNotFound"),
        ({}, source(other="p"), "SourceKeyMissing"),
        ({}, source(password=""), "SourceKeyMissing"),
        ({"namespace": "vault"}, Source(None, permitted=False), "SourceForbidden"),
    ],
    ids=[
        "beside Cube it needs no consent",
        "its own namespace may be named",
        "another namespace's consents to this one",
        "without a word it does not consent",
        "it consents to exactly the namespaces that it lists",
        "an empty list consents to nobody",
        "it is not there",
        "a key is not there",
        "an empty value is none",
        "it may not be watched",
    ],
)
def test_a_secret_is_copied_or_there_is_a_reason(ref, found, outcome):
    copied = values(found, **ref)
    assert (copied.reason if isinstance(copied, Problem) else copied) == outcome


def test_what_is_said_names_the_secret_the_key_and_the_namespace():
    assert "vault/sa" in values(source(password="p"), namespace="vault").message
    assert "adds team to" in values(source(password="p"), namespace="vault").message
    assert "under the key password" in values(source(other="p")).message


@pytest.mark.parametrize(
    ("spec", "env"),
    [
        (
            {"provider": {"name": "databricks"}, "serviceAccount": {"secretRef": {"name": "x"}}},
            {"CUBEJS_DB_DATABRICKS_TOKEN": "CUBEJS_DB_DATABRICKS_TOKEN"},
        ),
        (
            {"provider": {"name": "snowflake"}, "serviceAccount": {"secretRef": {"name": "x"}}},
            {"CUBEJS_DB_USER": "CUBEJS_DB_USER", "CUBEJS_DB_PASS": "CUBEJS_DB_PASS"},
        ),
        (
            {"provider": {"name": "snowflake"}, "serviceAccount": {"clientCredentials": {}}},
            {"CUBEJS_DB_SNOWFLAKE_OAUTH_TOKEN": "accessToken"},
        ),
        (
            {"provider": {"name": "trino"}, "serviceAccount": {"clientCredentials": {}}},
            {"CUBEJS_DB_PRESTO_AUTH_TOKEN": "accessToken"},
        ),
        ({"provider": {"name": "trino"}, "serviceAccount": {"secretRef": {"name": "x"}, "env": {"A": "a"}}}, {"A": "a"}),
        ({"provider": {"name": "generic"}, "serviceAccount": {"clientCredentials": {}}}, {}),
        ({}, {}),
    ],
)
def test_the_variables_are_those_that_cube_documents_unless_the_app_says_others(spec, env):
    assert account_env(app(**spec)) == env


def token(lifetime=HOUR, **changes):
    made = published(app(), None, ["A"], NOW, "trino-service-account")
    made = fetched(made, "wanted", lifetime, 3600)
    return AccountSecret(made.record.model_copy(update=changes), "sealed", "5")


@pytest.mark.parametrize("seconds", [3, 8, 20, 600, 3600, 86_400])
@pytest.mark.parametrize("percent", [10, 70, 95])
def test_the_next_token_is_fetched_while_more_than_a_quarter_of_the_lifetime_is_left(seconds, percent):
    lifetime = timedelta(seconds=seconds)
    for revision in range(1, 40):
        record = token(lifetime, revision=revision).record
        assert record.expires_at - fetch_at(record, percent) >= lifetime / 4
        assert fetch_at(record, percent) > NOW


def test_a_token_is_fetched_now_when_none_serves_and_otherwise_at_its_time():
    there, usual = token(), app(refresh={"percentOfLifetime": 70})
    assert due(usual, there, "wanted", opens=True) == fetch_at(there.record, 70)
    assert due(usual, None, "wanted", opens=False) is None
    assert due(usual, there, "wanted", opens=False) is None
    assert due(usual, there, "other", opens=True) is None
    assert due(usual, withdrawn(there, "SourceNotFound", NOW), "wanted", opens=True) is None


@pytest.mark.parametrize(
    ("revision", "lifetime", "at"),
    [(7, HOUR, NOW + YOUNGEST_REJECTED), (6, HOUR, None), (8, HOUR, None), (7, timedelta(seconds=20), None)],
    ids=["the one that there is", "one of before", "one that is not there", "one that ends sooner anyway"],
)
def test_a_token_that_the_warehouse_refused_is_fetched_anew_when_it_is_not_quite_young(revision, lifetime, at):
    there = token(lifetime, revision=7)
    told = app().model_copy(update={"status": OAuthAppStatus.model_validate({"demand": {"rejectedRevision": revision}})})
    assert due(told, there, "wanted", opens=True) == (at or due(app(), there, "wanted", opens=True))


def test_another_client_endpoint_scope_or_parameter_needs_another_token():
    usual = ("cube", "https://idp/token", ["a"], {"resource": "x"})
    others = [
        ("other", *usual[1:]),
        ("cube", "https://else/token", *usual[2:]),
        (*usual[:2], ["a", "b"], usual[3]),
        (*usual[:3], {}),
    ]
    assert asked(*usual) == asked(*usual)
    assert len({asked(*usual), *(asked(*other) for other in others)}) == 5


@pytest.mark.parametrize(
    ("said", "ends"), [(timedelta(minutes=5), 300), (None, 900), (timedelta(0), 900), (timedelta(days=9999), 31_536_000)]
)
def test_a_lifetime_is_what_the_provider_says_or_the_apps_default_and_never_absurd(said, ends):
    record = fetched(published(app(), None, ["A"], NOW, "t"), "wanted", said, 900).record
    assert (record.expires_at - record.issued_at).total_seconds() == ends


def test_a_withdrawn_account_has_no_value_and_remembers_what_it_filled():
    gone = withdrawn(token(), "SourceNotConsented", NOW + HOUR)
    assert gone.values is None
    assert (gone.record.variables, gone.record.withdrawn, gone.record.revision) == (("A",), "SourceNotConsented", 2)
    assert "values" not in gone.to_kubernetes("tokens")["data"]
    assert published(app(), gone, ["A"], NOW, None).record.withdrawn is None


def test_other_variables_are_no_reason_for_another_token():
    there = token()
    changed = spread(there, ["B", "A"])
    assert changed.record.variables == ("A", "B")
    assert (changed.record.expires_at, changed.record.asked, changed.record.revision) == (there.record.expires_at, "wanted", 2)


def test_a_secret_reads_back_as_it_was_written_and_holds_no_readable_value():
    there = token()
    read = AccountSecret.from_kubernetes(there.to_kubernetes("tokens"))
    assert read == there
    assert values_from_text(values_to_text({"A": "ä\n"})) == {"A": "ä\n"}


def test_the_target_is_named_and_owned_and_known_again():
    made = target_secret(app(), {"CUBEJS_DB_PASS": "p"})
    assert made["metadata"]["name"] == "trino-service-account"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-app"
    assert base64.b64decode(made["data"]["CUBEJS_DB_PASS"]) == b"p"
    assert is_target(made, "trino")
    assert not is_target(made, "other")
    assert not is_target({**made, "type": "Opaque"}, "trino")
    assert not is_target({**made, "metadata": {"name": "trino-service-account"}}, "trino")

import pytest
import yaml

from cube_oauth.lifecycle.decide import bound
from cube_oauth.portal.appchange import Change, version
from cube_oauth.portal.appform import AppForm
from cube_oauth.portal.languages import LANGUAGES
from cube_oauth.portal.origin import ListedApp
from cube_oauth.resources.secrets import Reference, TokenRecord

from .conftest import NOW, app_of, merged

GENERIC = {"displayName": "Trino", "clientSecretRef": {"name": "trino-client"}, "scopes": ["openid", "query"]}
DATABRICKS = {
    "displayName": "Databricks",
    "issuerURL": None,
    "provider": {"name": "databricks", "parameters": {"host": "adb-1.azuredatabricks.net"}},
    "clientSecretRef": {"name": "databricks-oauth"},
}
UNKNOWN_TO_THE_FORM = {"access": {"groups": ["analysts"]}, "fallback": "Deny", "revocationURL": "https://idp.example.com/revoke"}


def listed(**spec):
    return ListedApp.model_validate(app_of(spec=spec))


def fields_of(app):
    """What a browser sends back when nothing is typed."""
    form = AppForm.of(app)
    return {
        "title": form.title,
        "issuer": form.issuer_url,
        "authorization": form.authorization_url,
        "token_url": form.token_url,
        "client_id": form.client_id,
        "scopes": form.scopes,
        **({"public": "yes"} if form.public else {}),
        **{f"parameter-{name}": value for name, value in form.parameters.items()},
    }


def change(app, **typed):
    return Change(app, AppForm.typed(app, {**fields_of(app), **typed}))


@pytest.mark.parametrize(
    "app",
    [listed(**GENERIC), listed(**DATABRICKS), listed(), listed(**DATABRICKS, tokenURL="https://other.example.com/t")],
    ids=["generic", "preset", "public, without a name", "preset with an address of its own"],
)
def test_who_types_nothing_changes_nothing(app):
    found = change(app)
    assert (found.patch, found.effect(3), found.needs_secret, found.theirs()) == ({}, None, False, {})
    assert found.form.problems(("analytics",)) == {}


CHANGES = {
    "a name": ({"title": "Lake"}, {"displayName": "Lake"}),
    "a client": ({"client_id": "other"}, {"clientID": "other"}),
    "scopes": ({"scopes": "openid"}, {"scopes": ["openid"]}),
    "no scopes": ({"scopes": ""}, {"scopes": None}),
    "an address": ({"authorization": "https://idp.example.com/a"}, {"authorizationURL": "https://idp.example.com/a"}),
    "no secret any more": ({"public": "yes"}, {"clientSecretRef": None}),
}


@pytest.mark.parametrize(("typed", "patch"), CHANGES.values(), ids=CHANGES)
def test_only_what_was_typed_anew_is_written(typed, patch):
    app = listed(**GENERIC, **UNKNOWN_TO_THE_FORM)
    assert change(app, **typed).patch == patch
    spec = merged({**GENERIC, **UNKNOWN_TO_THE_FORM}, change(app, **typed).patch)
    assert UNKNOWN_TO_THE_FORM.items() <= spec.items()


def test_a_parameter_that_the_form_has_no_field_for_stays():
    app = listed(provider={"name": "databricks", "parameters": {"host": "a.example.com", "more": "x"}})
    assert change(app, **{"parameter-host": "b.example.com"}).patch["provider"] == {"parameters": {"host": "b.example.com"}}
    gone = listed(provider={"name": "okta", "parameters": {"host": "a.okta.com", "authorizationServer": "default"}})
    emptied = change(gone, **{"parameter-authorizationServer": ""})
    assert emptied.patch["provider"] == {"parameters": {"authorizationServer": None}}


def test_a_preset_s_addresses_cannot_be_typed_over():
    assert change(listed(**DATABRICKS), token_url="https://evil.example/token").patch == {}


SIGNED_OUT = {
    "another client": ({"client_id": "other"}, "edit.signs-out"),
    "a token endpoint elsewhere": ({"token_url": "https://other.example.com/token"}, "edit.signs-out"),
    "a token endpoint at the same origin": ({"token_url": "https://idp.example.com/other"}, "edit.may-sign-out"),
    "another issuer": ({"issuer": "https://other.example.com"}, "edit.may-sign-out"),
    "a name": ({"title": "Lake"}, None),
    "scopes": ({"scopes": "openid"}, None),
    "an authorization endpoint": ({"authorization": "https://other.example.com/a"}, None),
}


@pytest.mark.parametrize(("typed", "said"), SIGNED_OUT.values(), ids=SIGNED_OUT)
def test_what_it_does_to_the_people_who_are_connected(typed, said):
    effect = change(listed(**GENERIC), **typed).effect(3)
    assert (effect.key if effect else None) == said
    assert effect is None or "3" in LANGUAGES["en"].plain(effect)
    assert change(listed(**GENERIC), **typed).effect(0) is None


def test_what_the_controller_does_is_what_is_said_of_a_changed_client_or_token_endpoint():
    """The page's word and the controller's decision (`decide.bound`) are about the same."""
    app = listed(**GENERIC)
    nobody = Reference(namespace="x", name="x", uid="x")
    record = TokenRecord(
        credential=nobody,
        app=nobody,
        username="alice",
        client_id=app.spec.client_id,
        token_url=app.status.token_url,
        grant="x",
        revision=1,
        issued_at=NOW,
        expires_at=NOW,
    )
    for typed, said in SIGNED_OUT.values():
        found = change(app, **typed)
        after = ListedApp.model_validate(app_of(spec=merged(GENERIC, found.patch)))
        status = app.status.model_copy(update={"token_url": typed.get("token_url", app.status.token_url)})
        kept = bound(record, after.model_copy(update={"status": status}))
        assert said == "edit.may-sign-out" or kept == (said is None)


MOVES = {
    "another issuer": {"issuer": "https://other.example.com"},
    "another token endpoint": {"token_url": "https://other.example.com/t"},
}


@pytest.mark.parametrize("typed", MOVES.values(), ids=MOVES)
def test_a_client_secret_is_not_sent_elsewhere_but_typed_anew_into_another_secret(typed):
    found = change(listed(**GENERIC), **typed)
    assert found.needs_secret
    assert found.patch["clientSecretRef"]["name"].startswith("trino-client-")
    assert "clientSecretRef" not in yaml.safe_load(found.yaml())["spec"]


def test_a_preset_s_other_host_needs_another_client_secret():
    found = change(listed(**DATABRICKS), **{"parameter-host": "evil.example.com"})
    assert found.needs_secret
    assert found.patch["clientSecretRef"]["name"] != "databricks-oauth"


def test_a_client_secret_that_goes_nowhere_else_need_not_be_typed():
    for typed in ({"client_id": "other"}, {"token_url": "https://idp.example.com/other"}, {"scopes": "a"}, {"public": "yes"}):
        assert not change(listed(**GENERIC), **typed).needs_secret


def test_the_yaml_is_what_changes():
    body = yaml.safe_load(change(listed(**GENERIC), client_id="other", scopes="").yaml())
    assert body == {
        "apiVersion": "cubeoauth.dev/v1alpha1",
        "kind": "OAuthApp",
        "metadata": {"name": "trino", "namespace": "analytics"},
        "spec": {"clientID": "other", "scopes": None},
    }


def test_what_somebody_else_wrote_is_said_where_it_differs():
    theirs = change(listed(**GENERIC), title="Mine", scopes="openid mine").theirs()
    assert {page: LANGUAGES["en"].plain(text) for page, text in theirs.items()} == {
        "title": "The app now says: Trino",
        "scopes": "The app now says: openid query",
    }


def test_the_version_is_that_of_the_spec():
    one = app_of()
    status = {**one, "metadata": {**one["metadata"], "resourceVersion": "2"}}
    spec = {**one, "metadata": {**one["metadata"], "generation": 2}}
    anew = {**one, "metadata": {**one["metadata"], "uid": "other"}}
    versions = [version(ListedApp.model_validate(body)) for body in (one, status, spec, anew)]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3

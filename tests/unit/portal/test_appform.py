import dataclasses
import shlex

import pytest
import yaml

from cube_oauth.portal.appform import AppForm, presets, slug
from cube_oauth.portal.languages import LANGUAGES
from cube_oauth.portal.overview import scope_words
from cube_oauth.resources.oauthapp import OAuthApp

GENERIC = {
    "preset": "generic",
    "namespace": "analytics",
    "title": "Sales warehouse",
    "issuer": "https://idp.example.com",
    "client_id": "cube",
    "scopes": " openid  offline_access query ",
}
DATABRICKS = {
    "preset": "databricks",
    "namespace": "analytics",
    "title": "Databricks",
    "parameter-host": "adb-1.2.azuredatabricks.net",
    "client_id": "cube",
    "scopes": "all-apis offline_access",
}


def problems(**changed):
    found = AppForm.read({**GENERIC, **changed}).problems(["analytics"])
    return {name: LANGUAGES["en"].plain(text) for name, text in found.items()}


def test_the_documented_fields_make_an_app():
    app = AppForm.read(GENERIC).app()
    assert app["metadata"] == {"name": "sales-warehouse", "namespace": "analytics"}
    assert app["spec"] == {
        "displayName": "Sales warehouse",
        "issuerURL": "https://idp.example.com",
        "clientID": "cube",
        "clientSecretRef": {"name": "sales-warehouse-client"},
        "scopes": ["openid", "offline_access", "query"],
    }
    OAuthApp.model_validate(app)


def test_a_preset_fills_in_what_it_knows():
    assert AppForm.empty("databricks", "analytics").scopes == "all-apis offline_access"
    app = AppForm.read(DATABRICKS).app()
    assert app["spec"]["provider"] == {"name": "databricks", "parameters": {"host": "adb-1.2.azuredatabricks.net"}}
    assert {"scopes", "issuerURL", "authorizationURL"}.isdisjoint(app["spec"])
    assert AppForm.read(DATABRICKS).problems(["analytics"]) == {}


def test_a_preset_takes_no_addresses_from_the_form():
    typed = AppForm.read({**DATABRICKS, "token_url": "https://evil.example/token"})
    assert "evil" not in typed.yaml()


def test_a_public_client_has_no_secret():
    assert "clientSecretRef" not in AppForm.read({**GENERIC, "public": "yes"}).app()["spec"]


@pytest.mark.parametrize("preset", [name for name, _ in presets()])
def test_every_preset_has_a_form(preset):
    assert AppForm.read(dataclasses.asdict(AppForm.empty(preset, "analytics"))).preset == preset


BAD = {
    "title": {"title": ""},
    "name": {"name": "Sales_Warehouse"},
    "namespace": {"namespace": "kube-system"},
    "client_id": {"client_id": " "},
    "scopes": {"scopes": 'openid "all"'},
    "issuer": {"issuer": ""},
    "authorization": {"authorization": "http://idp.example.com/authorize"},
    "token_url": {"token_url": "https://"},
}


@pytest.mark.parametrize(("field", "typed"), BAD.items())
def test_what_is_wrong_is_said_at_its_field(field, typed):
    found = problems(**typed)
    assert found[field].endswith((".", "!"))


def test_nothing_is_wrong_with_both_addresses_instead_of_the_issuer():
    assert not problems(issuer="", authorization="https://idp.example.com/a", token_url="https://idp.example.com/t")


def test_all_namespaces_may_be_chosen_where_all_are_watched():
    assert AppForm.read({**GENERIC, "namespace": "anywhere"}).problems(()) == {}


def test_a_parameter_that_is_none_is_said_with_what_to_write():
    found = AppForm.read({**DATABRICKS, "parameter-host": "https://adb.example/"}).problems(["analytics"])
    assert "host alone" in LANGUAGES["en"].plain(found["parameter-host"])


def test_the_yaml_is_the_app():
    form = AppForm.read(GENERIC)
    assert yaml.safe_load(form.yaml()) == form.app()


def test_the_commands_hold_no_value_and_give_the_consent():
    lines = [shlex.split(line, comments=True) for line in AppForm.read(GENERIC).commands.splitlines()]
    assert lines[0] == ["read", "-rs", "VALUE"]
    assert "--from-file=clientSecret=/dev/stdin" in lines[1]
    assert lines[3][-1] == "cubeoauth.dev/oauth-client=sales-warehouse"


@pytest.mark.parametrize(
    ("title", "name"), [("Sales warehouse", "sales-warehouse"), ("Ü  50% (EU)", "50-eu"), ("--", ""), ("a" * 80, "a" * 63)]
)
def test_a_name_is_made_of_the_title(title, name):
    assert slug(title) == name


def test_presets_that_know_their_addresses_come_first_and_any_other_provider_last():
    asking = [AppForm(preset=name).asks_for_endpoints for name, _ in presets()]
    assert asking == sorted(asking)
    assert presets()[-1][0] == "generic"


@pytest.mark.parametrize("preset", [name for name, _ in presets()])
def test_every_scope_of_a_preset_is_told_in_words(preset):
    scopes = AppForm.empty(preset, "analytics").known.scopes
    assert [scope for scope in scopes if isinstance(scope_words(preset, scope), str)] == []

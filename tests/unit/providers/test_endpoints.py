import pytest

from cube_oauth.providers import ProviderError, ServerMetadata, data_source_of, endpoints_of, needs_discovery, resolve_app
from cube_oauth.resources.oauthapp import ClientAuthentication, OAuthApp

ISSUER = "https://idp.example.com"
DISCOVERED = ServerMetadata(
    issuer=ISSUER,
    authorization_url=f"{ISSUER}/a",
    token_url=f"{ISSUER}/t",
    revocation_url=f"{ISSUER}/r",
    jwks_url=f"{ISSUER}/k",
    iss_in_answers=True,
)
DATABRICKS = {"name": "databricks", "parameters": {"host": "dbc.example.com"}}


def test_discovery_fills_what_nobody_said(make_app):
    endpoints = resolve_app(make_app(issuerURL=ISSUER), DISCOVERED)
    assert endpoints.issuer == ISSUER
    assert (endpoints.authorization_url, endpoints.token_url) == (f"{ISSUER}/a", f"{ISSUER}/t")
    assert (endpoints.revocation_url, endpoints.jwks_url) == (f"{ISSUER}/r", f"{ISSUER}/k")
    assert endpoints.iss_required
    assert endpoints.scopes == ("openid", "offline_access")


def test_the_spec_overrides_discovery(make_app):
    endpoints = resolve_app(make_app(issuerURL=ISSUER, tokenURL="https://other.example.com/t"), DISCOVERED)
    assert endpoints.token_url == "https://other.example.com/t"
    assert endpoints.authorization_url == f"{ISSUER}/a"


def test_the_spec_overrides_the_preset(make_app):
    endpoints = resolve_app(make_app(provider=DATABRICKS, tokenURL="https://proxy.example.com/t", scopes=["sql"]))
    assert endpoints.token_url == "https://proxy.example.com/t"
    assert endpoints.authorization_url == "https://dbc.example.com/oidc/v1/authorize"
    assert endpoints.scopes == ("sql",)


def test_an_issuer_in_the_spec_replaces_the_presets_addresses(make_app):
    app = make_app(provider=DATABRICKS, issuerURL=ISSUER)
    assert needs_discovery(app) == ISSUER
    assert resolve_app(app, DISCOVERED).token_url == f"{ISSUER}/t"


DISCOVERY = {
    "an issuer alone is asked": ({"issuerURL": ISSUER}, ISSUER),
    "an issuer beside one address is asked for the other": ({"issuerURL": ISSUER, "tokenURL": f"{ISSUER}/t"}, ISSUER),
    "an issuer beside both addresses is not asked": (
        {"issuerURL": ISSUER, "tokenURL": f"{ISSUER}/t", "authorizationURL": f"{ISSUER}/a"},
        None,
    ),
    "a preset with addresses is not asked": ({"provider": DATABRICKS}, None),
    "nothing known is nobody to ask": ({}, None),
}


@pytest.mark.parametrize(("spec", "issuer"), DISCOVERY.values(), ids=DISCOVERY.keys())
def test_needs_discovery(make_app, spec, issuer):
    assert needs_discovery(make_app(**spec)) == issuer


@pytest.mark.parametrize("spec", [{}, {"tokenURL": f"{ISSUER}/t"}, {"issuerURL": ISSUER}], ids=["nothing", "half", "not yet asked"])
def test_an_unknown_endpoint_is_the_apps_error(make_app, spec):
    with pytest.raises(ProviderError) as caught:
        resolve_app(make_app(**spec))
    assert (caught.value.kind, caught.value.reason) == ("App", "EndpointMissing")


AUTHENTICATION = {
    "what the spec says wins": ({"clientAuthentication": "post"}, ("client_secret_basic",), ClientAuthentication.POST),
    "no secret means a public client": ({"clientSecretRef": None}, ("client_secret_basic",), ClientAuthentication.NONE),
    "the preset's way, when the provider knows it": ({}, ("client_secret_post", "client_secret_basic"), ClientAuthentication.BASIC),
    "another way, when the provider knows only that": ({}, ("client_secret_post",), ClientAuthentication.POST),
    "a key, when the provider wants nothing else": ({}, ("private_key_jwt",), ClientAuthentication.PRIVATE_KEY_JWT),
    "the preset's way, when the provider names none of ours": ({}, ("tls_client_auth",), ClientAuthentication.BASIC),
}


@pytest.mark.parametrize(("spec", "offered", "expected"), AUTHENTICATION.values(), ids=AUTHENTICATION.keys())
def test_client_authentication(make_app, spec, offered, expected):
    metadata = ServerMetadata(ISSUER, f"{ISSUER}/a", f"{ISSUER}/t", client_authentications=offered)
    assert resolve_app(make_app(issuerURL=ISSUER, **spec), metadata).client_authentication is expected


def test_parameters_of_the_spec_are_added_to_the_presets_and_win(make_app):
    app = make_app(provider={"name": "google"}, authorizationParameters={"prompt": "select_account", "hd": "example.com"})
    assert resolve_app(app).authorization_parameters == {
        "access_type": "offline",
        "prompt": "select_account",
        "hd": "example.com",
    }


def test_token_and_refresh_parameters_are_kept_apart(make_app):
    app = make_app(provider={"name": "google"}, tokenParameters={"a": "1"}, refreshParameters={"b": "2"})
    endpoints = resolve_app(app)
    assert (endpoints.token_parameters, endpoints.refresh_parameters) == ({"a": "1"}, {"b": "2"})


DATA_SOURCES = {
    "the spec's": ({"dataSource": "lake", "provider": DATABRICKS}, "lake"),
    "the preset's documented key": ({"provider": DATABRICKS}, "databricks"),
    "the resource's name": ({"issuerURL": ISSUER}, "warehouse"),
}


@pytest.mark.parametrize(("spec", "expected"), DATA_SOURCES.values(), ids=DATA_SOURCES.keys())
def test_data_source(make_app, spec, expected):
    assert data_source_of(make_app(**spec)) == expected


@pytest.mark.parametrize(("name", "expected"), [("my-trino", "my_trino"), ("trino.eu", "trino_eu"), ("2nd", "_2nd"), ("ok", "ok")])
def test_a_name_that_is_no_identifier_becomes_one(name, expected):
    app = OAuthApp.model_validate({"metadata": {"name": name}, "spec": {"clientID": "c", "issuerURL": ISSUER}})
    assert data_source_of(app) == expected


@pytest.mark.parametrize(("confidential", "expected"), [(True, ClientAuthentication.BASIC), (False, ClientAuthentication.NONE)])
def test_a_provider_is_usable_without_an_app(confidential, expected):
    endpoints = endpoints_of(DISCOVERED, ("openid",), confidential=confidential)
    assert (endpoints.issuer, endpoints.scopes, endpoints.iss_required) == (ISSUER, ("openid",), True)
    assert endpoints.client_authentication is expected

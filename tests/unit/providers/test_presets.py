import pytest

from cube_oauth.providers import PRESETS, ProviderError, needs_discovery, resolve_app
from cube_oauth.providers.presets import rendered_parameters
from cube_oauth.resources.oauthapp import ClientAuthentication, Preset

ADDRESSES = {
    "databricks asks the workspace's own OIDC endpoints": (
        {"name": "databricks", "parameters": {"host": "adb-1.2.azuredatabricks.net"}},
        "https://adb-1.2.azuredatabricks.net/oidc/v1/authorize",
        "https://adb-1.2.azuredatabricks.net/oidc/v1/token",
    ),
    "snowflake turns underscores of the account into hyphens of the host": (
        {"name": "snowflake", "parameters": {"account": "my_org-my_account"}},
        "https://my-org-my-account.snowflakecomputing.com/oauth/authorize",
        "https://my-org-my-account.snowflakecomputing.com/oauth/token-request",
    ),
    "google needs no parameters": (
        {"name": "google"},
        "https://accounts.google.com/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
    ),
    "entra asks the tenant's endpoints": (
        {"name": "entra", "parameters": {"tenant": "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"}},
        "https://login.microsoftonline.com/2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/oauth2/v2.0/token",
    ),
}


@pytest.mark.parametrize(("provider", "authorize", "token"), ADDRESSES.values(), ids=ADDRESSES.keys())
def test_a_preset_knows_its_addresses(make_app, provider, authorize, token):
    app = make_app(provider=provider)
    endpoints = resolve_app(app)
    assert needs_discovery(app) is None
    assert (endpoints.authorization_url, endpoints.token_url) == (authorize, token)


ISSUERS = {
    "okta's organization": ({"host": "example.okta.com"}, "https://example.okta.com"),
    "okta's authorization server": (
        {"host": "example.okta.com", "authorizationServer": "default"},
        "https://example.okta.com/oauth2/default",
    ),
}


@pytest.mark.parametrize(("parameters", "issuer"), ISSUERS.values(), ids=ISSUERS.keys())
def test_okta_is_discovered_at(make_app, parameters, issuer):
    assert needs_discovery(make_app(provider={"name": "okta", "parameters": parameters})) == issuer


REFUSED = {
    "a missing parameter": ("databricks", {}, "needs spec.provider.parameters.host: write the workspace's host"),
    "an unknown parameter": (
        "databricks",
        {"Host": "x", "host": "y"},
        "Host means nothing to the preset databricks: it takes host",
    ),
    "a parameter of a preset without any": ("generic", {"host": "x"}, "it takes none"),
    "a URL instead of a host": ("databricks", {"host": "https://dbc.cloud.databricks.com/"}, "must be the workspace's host alone"),
    "a path behind the host": ("databricks", {"host": "evil.example/x"}, "host must be"),
    "another host behind an at sign": ("okta", {"host": "example.okta.com@evil.example"}, "host must be"),
    "a template in the host": ("okta", {"host": "{tenant}"}, "host must be"),
    "a line break behind the host": ("okta", {"host": "example.okta.com\n"}, "host must be"),
    "snowflake's whole host name with a slash": ("snowflake", {"account": "a/b"}, "account must be the account identifier"),
    "a domain instead of the tenant's ID": ("entra", {"tenant": "contoso.onmicrosoft.com"}, "GUID"),
    "a path in the authorization server": (
        "okta",
        {"host": "h.okta.com", "authorizationServer": "../x"},
        "authorizationServer must be",
    ),
}


@pytest.mark.parametrize(("name", "parameters", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_parameters_are_refused_with_a_sentence(name, parameters, sentence):
    with pytest.raises(ProviderError) as caught:
        rendered_parameters(Preset(name), parameters)
    assert sentence in caught.value.message
    assert (caught.value.kind, caught.value.reason, caught.value.sent) == ("App", "InvalidParameters", False)


def test_every_preset_of_the_resource_has_a_row():
    assert set(PRESETS) == set(Preset)


@pytest.mark.parametrize(("name", "preset"), PRESETS.items(), ids=[name.value for name in PRESETS])
def test_a_presets_addresses_use_only_its_own_parameters(name, preset):
    values = {parameter.name: "x" for parameter in preset.parameters}
    for template in (preset.issuer, preset.authorization_url, preset.token_url, preset.revocation_url, preset.jwks_url):
        assert template is None or template.format_map(values).startswith("https://")


QUIRKS = {
    "databricks gives a refresh token for offline_access only": (
        Preset.DATABRICKS,
        ("all-apis", "offline_access"),
        {},
        ClientAuthentication.BASIC,
    ),
    "snowflake calls that scope refresh_token": (Preset.SNOWFLAKE, ("refresh_token",), {}, ClientAuthentication.BASIC),
    "google wants parameters instead of a scope": (
        Preset.GOOGLE,
        ("openid", "email", "https://www.googleapis.com/auth/bigquery"),
        {"access_type": "offline", "prompt": "consent"},
        ClientAuthentication.POST,
    ),
    "oauth2 asks for nothing by itself": (Preset.OAUTH2, (), {}, ClientAuthentication.BASIC),
    "oidc asks for a refresh token": (Preset.OIDC, ("openid", "offline_access"), {}, ClientAuthentication.BASIC),
    "trino's provider is any OpenID provider": (Preset.TRINO, ("openid", "offline_access"), {}, ClientAuthentication.BASIC),
}


@pytest.mark.parametrize(("name", "scopes", "parameters", "authentication"), QUIRKS.values(), ids=QUIRKS.keys())
def test_quirk(name, scopes, parameters, authentication):
    preset = PRESETS[name]
    assert (preset.scopes, preset.authorization_parameters, preset.client_authentication) == (scopes, parameters, authentication)

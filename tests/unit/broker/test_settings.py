"""The broker's environment."""

import pytest

from cube_oauth.broker.settings import BrokerSettings
from cube_oauth.settings import SettingsError

NEEDED = {
    "CUBE_OAUTH_NAME": "co",
    "CUBE_OAUTH_NAMESPACE": "cube-oauth",
    "CUBE_OAUTH_TOKEN_NAMESPACE": "tokens",
    "CUBE_OAUTH_NAMESPACES": "team",
    "CUBE_OAUTH_PORTAL_URL": "https://portal",
    "CUBE_OAUTH_TLS_DIR": "/tls",
    "CUBE_OAUTH_ACCESS_RING_FILE": "/ring",
    "CUBE_OAUTH_SIDECAR_IMAGE": "image",
}


def test_the_rest_has_defaults():
    settings = BrokerSettings.read(NEEDED)
    assert (settings.listen[1], settings.listen_api[1], settings.listen_webhook[1]) == (8080, 8443, 9443)
    assert settings.sidecar.broker_url == "https://co-broker.cube-oauth.svc:8443"
    assert (settings.sidecar.username_claim, settings.sidecar.username_claims) == ("sub", ())


def test_the_sidecar_is_as_the_chart_says():
    sidecar = BrokerSettings.read(
        NEEDED
        | {
            "CUBE_OAUTH_USERNAME_CLAIM": "email",
            "CUBE_OAUTH_USERNAME_CLAIMS": "sub, upn",
            "CUBE_OAUTH_SIDECAR_RESOURCES": '{"requests": {"memory": "50Mi"}}',
            "CUBE_OAUTH_SIDECAR_RUN_AS_USER": "1234",
        }
    ).sidecar
    assert (sidecar.username_claim, sidecar.username_claims) == ("email", ("sub", "upn"))
    assert (sidecar.requests, sidecar.limits, sidecar.run_as_user) == ((("memory", "50Mi"),), (), 1234)


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_missing_is_named(name):
    with pytest.raises(SettingsError, match=name):
        BrokerSettings.read({key: value for key, value in NEEDED.items() if key != name})


@pytest.mark.parametrize("text", ["{", "[]", '{"requests": 3}'])
def test_unreadable_resources_are_named(text):
    with pytest.raises(SettingsError, match="CUBE_OAUTH_SIDECAR_RESOURCES"):
        BrokerSettings.read({**NEEDED, "CUBE_OAUTH_SIDECAR_RESOURCES": text})

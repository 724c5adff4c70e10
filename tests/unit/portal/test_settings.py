import asyncio
import ssl
from datetime import timedelta
from ipaddress import ip_network

import pytest

from cube_oauth.portal.limits import LimitSettings
from cube_oauth.portal.server import run
from cube_oauth.portal.session import SessionLimits
from cube_oauth.portal.settings import PortalSettings, ProxySettings
from cube_oauth.portal.tls import ServerCertificate
from cube_oauth.settings import SettingsError
from tests.parts.certificates import self_made

ENOUGH = {
    "CUBE_OAUTH_NAME": "cube-oauth",
    "CUBE_OAUTH_NAMESPACE": "cube-oauth",
    "CUBE_OAUTH_TOKEN_NAMESPACE": "cube-oauth-tokens",
    "CUBE_OAUTH_NAMESPACES": "analytics",
    "CUBE_OAUTH_PORTAL_URL": "https://connect.example.com/",
    "CUBE_OAUTH_LOGIN_ISSUER": "https://login.example.com",
    "CUBE_OAUTH_LOGIN_CLIENT_ID": "portal",
    "CUBE_OAUTH_COOKIE_RING_FILE": "/ring",
}


def test_the_defaults():
    settings = PortalSettings.read(ENOUGH)
    assert settings.listen == (None, 8000)
    assert settings.listen_health == (None, 8080)
    assert settings.log_in.scopes == ("openid", "profile")
    assert (settings.log_in.username_claim, settings.log_in.groups_claim) == ("sub", "groups")
    assert settings.log_in.client_secret_file is None
    assert (settings.return_to, settings.trusted_proxies) == ((), ())
    assert (settings.tls_directory, settings.allowed_addresses) == (None, ())
    assert (settings.origin, settings.https) == ("https://connect.example.com", True)


@pytest.mark.parametrize(
    ("url", "origin"),
    {
        "https://connect.example.com:443": "https://connect.example.com",
        "http://Connect.example.com:80": "http://connect.example.com",
        "https://connect.example.com:80": "https://connect.example.com:80",
        "https://connect.example.com:8443": "https://connect.example.com:8443",
        "https://[2001:db8::1]:443": "https://[2001:db8::1]",
    }.items(),
)
def test_the_origin_is_what_browsers_send(url, origin):
    assert PortalSettings.read({**ENOUGH, "CUBE_OAUTH_PORTAL_URL": url}).origin == origin


def test_when_a_session_ends_and_how_much_is_permitted():
    default = PortalSettings.read(ENOUGH)
    assert (default.session, default.limits) == (SessionLimits(), LimitSettings(2, 60, 10, 300, 500))
    numbers = {"SESSION_IDLE_SECONDS": "600", "SESSION_ABSOLUTE_SECONDS": "3600", "LIMIT_PERSON_BURST": "9", "LIMIT_STREAMS": "7"}
    settings = PortalSettings.read({**ENOUGH, **{f"CUBE_OAUTH_{name}": value for name, value in numbers.items()}})
    assert settings.session == SessionLimits(timedelta(minutes=10), timedelta(hours=1))
    assert (settings.limits.person_burst, settings.limits.streams, settings.limits.address_burst) == (9, 7, 300)


def test_networks_are_read():
    settings = PortalSettings.read({**ENOUGH, "CUBE_OAUTH_ALLOWED_ADDRESSES": "127.0.0.1/32, fd00::/8"})
    assert settings.allowed_addresses == (ip_network("127.0.0.1/32"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGIN_ISSUER", ""),
        ("LOGIN_CLIENT_ID", ""),
        ("COOKIE_RING_FILE", ""),
        ("LOGIN_SCOPES", "profile"),
        ("PORTAL_URL", "connect.example.com"),
        ("PORTAL_URL", "https://example.com/connect"),
        ("PORTAL_URL", "https://user@example.com"),
        ("PORTAL_URL", "https://example.com#top"),
        ("PORTAL_URL", "https://b\u00fccher.example"),
        ("API_ORIGINS", "https://home.example.com:443"),
        ("ALLOWED_ADDRESSES", "localhost"),
        ("TRUSTED_PROXIES", "ingress"),
        ("RETURN_TO", "bi.example.com"),
        ("API_ORIGINS", "https://home.example.com/page"),
        ("LISTEN_PORTAL", "8000x"),
        ("SESSION_IDLE_SECONDS", "59"),
        ("SESSION_IDLE_SECONDS", "28801"),
        ("SESSION_ABSOLUTE_SECONDS", "an hour"),
        ("LIMIT_PERSON_BURST", "0"),
        ("LIMIT_STREAMS", "many"),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(SettingsError, match=f"CUBE_OAUTH_{name}"):
        PortalSettings.read({**ENOUGH, f"CUBE_OAUTH_{name}": value})


def test_a_proxy_takes_the_place_of_the_log_in():
    without = {name: value for name, value in ENOUGH.items() if "LOGIN" not in name}
    settings = PortalSettings.read({**without, "CUBE_OAUTH_PROXY_ADDRESSES": "10.1.2.3/32"})
    assert settings.log_in is None
    assert settings.proxy == ProxySettings((ip_network("10.1.2.3/32"),), "X-Forwarded-User", "X-Forwarded-Groups")
    with pytest.raises(SettingsError, match="only one of them"):
        PortalSettings.read({**ENOUGH, "CUBE_OAUTH_PROXY_ADDRESSES": "10.1.2.3/32"})


async def test_nothing_starts_with_a_wrong_setting():
    with pytest.raises(SettingsError, match="CUBE_OAUTH_NAMESPACES is not set"):
        await run({}, asyncio.Event())


def served(certificate):
    """The certificate that a client sees."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context = ssl.create_default_context()
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client = client_context.wrap_bio(incoming, outgoing)
    server = certificate.context.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path):
    self_made(tmp_path, "portal.example.com")
    certificate = ServerCertificate(tmp_path)
    before = served(certificate)
    self_made(tmp_path, "portal.example.com")
    assert served(certificate) == before
    certificate.renew()
    assert served(certificate) != before


def test_half_a_new_certificate_leaves_the_one_before(tmp_path):
    self_made(tmp_path, "portal.example.com")
    certificate = ServerCertificate(tmp_path)
    before = served(certificate)
    other = self_made(tmp_path / "other", "portal.example.com")
    (tmp_path / "tls.crt").write_bytes(other.cert.read_bytes())
    certificate.renew()
    assert served(certificate) == before
    (tmp_path / "tls.key").write_bytes(other.key.read_bytes())
    certificate.renew()
    assert served(certificate) != before


def test_a_missing_certificate_is_said(tmp_path):
    with pytest.raises(SettingsError, match="CUBE_OAUTH_TLS_DIR"):
        ServerCertificate(tmp_path)

"""How the client proves itself at the token endpoint (RFC 6749, section 2.3; RFC 7523; OpenID Connect Core, section 9)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from cube_oauth.providers.errors import INVALID_CLIENT_SECRET, error
from cube_oauth.resources.oauthapp import ClientAuthentication

if TYPE_CHECKING:
    from pydantic import SecretStr

    from cube_oauth.providers.endpoints import Endpoints

_ASSERTION_SECONDS = 300
_KEY_TYPES: dict[str, type[RSAKey | ECKey]] = {"RSA": RSAKey, "EC": ECKey}
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


@dataclass(frozen=True)
class ClientCredentials:
    """The client as the provider knows it. For ``private_key_jwt`` the secret is the private key, as PEM or JWK."""

    client_id: str
    secret: SecretStr | None = None


@dataclass(frozen=True)
class _SigningKey:
    key: RSAKey | ECKey
    algorithm: str


def _imported(text: str) -> RSAKey | ECKey:
    if text.lstrip().startswith("{"):
        jwk = json.loads(text)
        return _KEY_TYPES[jwk["kty"]].import_key(jwk)
    try:
        return RSAKey.import_key(text)
    except (JoseError, ValueError, TypeError):
        return ECKey.import_key(text)


@lru_cache(maxsize=64)
def _signing_key(secret: SecretStr) -> _SigningKey:
    """The key in ``secret``; kept, because reading an RSA key costs more than the request itself.

    Raises what authlib, joserfc and cryptography raise for no key. A public key fails later, when it shall sign.
    """
    key = _imported(secret.get_secret_value())
    natural = "RS256" if isinstance(key, RSAKey) else _CURVES[key.curve_name]
    return _SigningKey(key, str(key.get("alg") or natural))


def _by_key(endpoints: Endpoints, client: ClientCredentials, secret: SecretStr) -> ClientAuth:
    """A signed assertion whose audience is the token endpoint, also for revocation (RFC 7523, section 3), or the issuer."""
    signing = _signing_key(secret)
    header = {"kid": signing.key.kid} if signing.key.kid else {}
    claims = {"exp": int(time.time()) + _ASSERTION_SECONDS}
    method = PrivateKeyJWT(endpoints.assertion_audience or endpoints.token_url, claims, header, signing.algorithm)
    return ClientAuth(client.client_id, signing.key, method)


def _client_auth(endpoints: Endpoints, client: ClientCredentials) -> ClientAuth:
    method = endpoints.client_authentication
    if method is ClientAuthentication.NONE:
        return ClientAuth(client.client_id, None, "none")
    if client.secret is None:
        raise ValueError("no secret")
    if method is ClientAuthentication.PRIVATE_KEY_JWT:
        return _by_key(endpoints, client, client.secret)
    secret = client.secret.get_secret_value()
    if method is ClientAuthentication.BASIC:  # both are form-encoded first: RFC 6749, section 2.3.1
        return ClientAuth(quote_plus(client.client_id), quote_plus(secret), "client_secret_basic")
    return ClientAuth(client.client_id, secret, "client_secret_post")


def authenticated(endpoints: Endpoints, client: ClientCredentials, url: str, body: str) -> tuple[dict[str, str], str]:
    """The headers and the body with which the client proves itself at ``url``.

    Raises ProviderError (the app's, ``InvalidClientSecret``) when the secret cannot be used in this way.
    """
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        auth = _client_auth(endpoints, client)
        _, _, signed = auth.prepare("POST", url, headers, body)
    except (JoseError, ValueError, TypeError, KeyError):
        signed = None
    if signed is None:
        raise error(INVALID_CLIENT_SECRET, sent=False)
    return headers, str(signed)

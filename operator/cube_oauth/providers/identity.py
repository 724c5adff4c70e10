"""Who authorized: reading and checking ID tokens (OpenID Connect Core, section 3.1.3.7)."""

from __future__ import annotations

import hmac
import json
from copy import copy
from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

if TYPE_CHECKING:
    from datetime import datetime

    from joserfc.jwk import Key, KeySet
    from joserfc.jwt import ClaimsOption
    from pydantic import SecretStr

    from cube_oauth.providers.answers import TokenAnswer

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Signatures that are accepted; neither ``none`` nor the symmetric ones, whose key would be the client secret."""

LONGEST_HEADER = 16 * 1024
"""Bytes: some put a chain of certificates there (``x5c``)."""
LEEWAY_SECONDS = 120
"""How far the provider's clock may be off, either way."""

_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


MESSAGES = {
    "Unreadable": "The ID token is no signed JWT with a permitted algorithm.",
    "UnknownKey": "The ID token is signed with a key that the provider does not publish.",
    "InvalidSignature": "The ID token's signature is wrong.",
    "IssuerDiffers": "The ID token comes from another issuer than the one that was asked.",
    "AudienceDiffers": "The ID token was made for another client.",
    "Expired": "The ID token has ended.",
    "NotYetValid": "The ID token lies in the future: compare the clocks of the provider and of this machine.",
    "NonceDiffers": "The ID token does not belong to this log-in. Start again.",
    "SubjectDiffers": "The userinfo endpoint speaks of somebody else than the ID token (OpenID Connect Core, section 5.3.2).",
    "Inactive": "The introspection endpoint says that the access token does not count (RFC 7662, section 2.2).",
    "ClaimMissing": "The ID token lacks a claim that every ID token must have.",
}
"""Each reason with its sentence."""

_BY_CLAIM = {
    "iss": "IssuerDiffers",
    "aud": "AudienceDiffers",
    "exp": "Expired",
    "iat": "NotYetValid",
    "nbf": "NotYetValid",
}


class IdentityError(Exception):
    """An ID token says the wrong thing. Neither ``reason`` (a key of MESSAGES) nor ``message`` holds anything of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(MESSAGES[reason])
        self.reason = reason
        self.message = MESSAGES[reason]

    def __repr__(self) -> str:
        return f"IdentityError({self.reason})"


def _registry() -> jws.JWSRegistry:
    """Reads what providers write: header fields beyond the standards are ignored, unless critical (RFC 7515, section 4)."""
    made = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    made.max_header_length = LONGEST_HEADER
    edwards = copy(made.algorithms["EdDSA"])
    edwards.security_warning = None  # of the name, which RFC 9864 has replaced and nearly every provider uses
    made.algorithms = {**made.algorithms, "EdDSA": edwards}
    return made


_REGISTRY = _registry()


def _parsed(token: SecretStr) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims of a JWT whose signature nobody has checked yet, or None when it is none."""
    try:
        signed = jws.extract_compact(token.get_secret_value().encode(), registry=_REGISTRY)
        claims = json.loads(signed.payload or b"")
    except (JoseError, ValueError, RecursionError):
        return None
    return (dict(signed.headers()), claims) if isinstance(claims, dict) else None


def _usable(key: Key, header: dict[str, Any]) -> bool:
    """Whether a published key can have made this signature (RFC 7517, section 4)."""
    algorithm = header["alg"]
    return (
        key.key_type == _KEY_TYPES[algorithm[:2]]
        and key.get("use") in (None, "sig")
        and key.get("alg") in (None, algorithm)
        and ("kid" not in header or key.kid == header["kid"])
    )


def _signed_by(token: SecretStr, key: Key) -> bool:
    try:
        jws.deserialize_compact(token.get_secret_value().encode(), key, registry=_REGISTRY)
    except (JoseError, ValueError):
        return False
    return True


def _check_signature(token: SecretStr, header: dict[str, Any], jwks: KeySet) -> None:
    candidates = [key for key in jwks.keys if _usable(key, header)]
    if not candidates:
        raise IdentityError("UnknownKey")
    if not any(_signed_by(token, key) for key in candidates):
        raise IdentityError("InvalidSignature")


def _claims_problem(claims: dict[str, Any], now: datetime | None, **expected: ClaimsOption) -> str | None:
    """The reason why the claims are wrong, or None. Without ``now`` no time is compared."""
    timeless = claims if now else {name: value for name, value in claims.items() if name not in ("exp", "iat", "nbf")}
    registry = JWTClaimsRegistry(int(now.timestamp()) if now else 0, LEEWAY_SECONDS, **expected)
    try:
        registry.validate(timeless)
    except JoseError as problem:
        claim = getattr(problem, "claim", "")
        return _BY_CLAIM.get(claim, "ClaimMissing") if claim in claims else "ClaimMissing"
    return None


def _check_party(claims: dict[str, Any], client_id: str) -> None:
    """``azp`` (section 3.1.3.7, rules 4 and 5): needed when there are several audiences, and then it must be us."""
    audience, party = claims.get("aud"), claims.get("azp")
    several = isinstance(audience, list) and len(audience) > 1
    if (party is None and several) or (party is not None and party != client_id):
        raise IdentityError("AudienceDiffers")


def _check_nonce(claims: dict[str, Any], nonce: str | None) -> None:
    if nonce is None:
        return
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(errors="replace"), nonce.encode()):
        raise IdentityError("NonceDiffers")


def signed_claims(token: SecretStr, jwks: KeySet) -> dict[str, Any]:
    """The claims of a JWT that one of these keys has signed; nothing else of it is checked. Raises IdentityError."""
    parsed = _parsed(token)
    if parsed is None or parsed[0].get("alg") not in ALGORITHMS:
        raise IdentityError("Unreadable")
    header, claims = parsed
    _check_signature(token, header, jwks)
    return claims


def verify_id_token(
    id_token: SecretStr, jwks: KeySet, *, issuer: str, client_id: str, nonce: str | None, now: datetime
) -> dict[str, Any]:
    """The claims of an ID token after every check of section 3.1.3.7, the signature included.

    Raises IdentityError; with the reason ``UnknownKey`` it may help to fetch the keys again. ``nonce`` None: none was sent.
    """
    claims = signed_claims(id_token, jwks)
    problem = _claims_problem(
        claims,
        now,
        iss={"essential": True, "value": issuer},
        sub={"essential": True},
        aud={"essential": True, "value": client_id},
        exp={"essential": True},
        iat={"essential": True},
    )
    if problem:
        raise IdentityError(problem)
    _check_party(claims, client_id)
    _check_nonce(claims, nonce)
    return claims


def _expected(issuer: str | None, client_id: str | None) -> dict[str, ClaimsOption]:
    known: dict[str, ClaimsOption] = {}
    if issuer:
        known["iss"] = {"essential": True, "value": issuer}
    if client_id:
        known["aud"] = {"essential": True, "value": client_id}
    return known


def id_token_claims(
    answer: TokenAnswer,
    *,
    issuer: str | None = None,
    client_id: str | None = None,
    nonce: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any] | None:
    """The claims of the ID token in an answer, compared with what is given; None when there is no readable one.

    ``answer`` must come straight from the token endpoint over TLS: then the signature need not be checked (section 3.1.3.7,
    rule 6). Raises IdentityError.
    """
    parsed = _parsed(answer.id_token) if answer.id_token else None
    if parsed is None:
        return None
    _, claims = parsed
    problem = _claims_problem(claims, now, **_expected(issuer, client_id))
    if problem:
        raise IdentityError(problem)
    _check_nonce(claims, nonce)
    return claims


def access_token_claims(answer: TokenAnswer, *, now: datetime | None = None) -> dict[str, Any] | None:
    """The claims of an access token; None when it is no JWT.

    It is made for somebody else (RFC 9068), so only its times are checked. Raises IdentityError.
    """
    parsed = _parsed(answer.access_token)
    if parsed is None:
        return None
    problem = _claims_problem(parsed[1], now)
    if problem:
        raise IdentityError(problem)
    return parsed[1]

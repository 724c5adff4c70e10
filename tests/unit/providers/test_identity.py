import base64
import hmac
import json
from contextlib import nullcontext
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from pydantic import SecretStr

from cube_oauth.providers import IdentityError, TokenAnswer, verify_id_token
from cube_oauth.providers.identity import access_token_claims, id_token_claims
from tests.unit.providers.conftest import NOW

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # when a test signs with it

ISSUER = "https://idp.example.com"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "other"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
PUBLISHED = KeySet.import_key_set(KeySet([RSA, OTHER_RSA, EC, ED]).as_dict(private=False))


def seconds(**duration):
    return int((NOW + timedelta(**duration)).timestamp())


def token(key=RSA, algorithm="RS256", header=None, **claims):
    """An ID token; a claim that is None is left out."""
    known = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "the-client",
        "exp": seconds(minutes=5),
        "iat": seconds(),
        "nonce": "n",
    }
    said = {name: value for name, value in {**known, **claims}.items() if value is not None}
    return SecretStr(jwt.encode({"alg": algorithm, **(header or {"kid": key.kid})}, said, key, algorithms=[algorithm]))


def verify(id_token, jwks=PUBLISHED, nonce="n"):
    return verify_id_token(id_token, jwks, issuer=ISSUER, client_id="the-client", nonce=nonce, now=NOW)


SIGNED = {
    "RS256": (RSA, "RS256"),
    "PS256": (RSA, "PS256"),
    "ES256": (EC, "ES256"),
    "Ed25519": (ED, "Ed25519"),
    "EdDSA": (ED, "EdDSA"),
}


@pytest.mark.parametrize(("key", "algorithm"), SIGNED.values(), ids=SIGNED.keys())
def test_a_good_token_is_accepted(key, algorithm):
    assert verify(token(key, algorithm))["sub"] == "alice"


ACCEPTED = {
    "several audiences and the party is us": {"aud": ["the-client", "api"], "azp": "the-client"},
    "a list with one audience": {"aud": ["the-client"]},
    "ended a minute ago, since clocks differ": {"exp": seconds(minutes=-1)},
    "made a minute from now, since clocks differ": {"iat": seconds(minutes=1)},
    "claims of its own": {"groups": ["admins"]},
}


@pytest.mark.parametrize("claims", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(claims):
    assert verify(token(**claims))


def test_without_a_nonce_sent_none_is_wanted():
    assert verify(token(nonce=None), nonce=None)


def test_a_token_without_a_key_id_is_tried_with_every_key():
    for key, algorithm in ((RSA, "RS256"), (OTHER_RSA, "RS256"), (EC, "ES256")):
        assert verify(token(key, algorithm, {"typ": "JWT"}))


HEADERS = {
    "a field of the provider's own": ({"appid": "x"}, True),
    "one that it calls critical": ({"appid": "x", "crit": ["appid"]}, False),
    "a chain of certificates": ({"x5c": ["M" * 2000] * 3}, True),
}


@pytest.mark.parametrize(("more", "good"), HEADERS.values(), ids=HEADERS.keys())
def test_what_a_header_has_beyond_the_standards_is_ignored_unless_it_is_critical(more, good):
    said = {"iss": ISSUER, "sub": "alice", "aud": "the-client", "exp": seconds(minutes=5), "iat": seconds(), "nonce": "n"}
    signed = ".".join(part.decode() for part in by_rsa({"alg": "RS256", "kid": "rsa", **more}, said))
    with nullcontext() if good else pytest.raises(IdentityError):
        assert verify(SecretStr(signed))["sub"] == "alice"


def by_rsa(header, claims):
    """A JWT that no library would make."""
    said = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = RSA.private_key.sign(b".".join(said), padding.PKCS1v15(), hashes.SHA256())
    return (*said, base64.urlsafe_b64encode(signature).rstrip(b"="))


def test_a_key_may_say_the_old_name_of_an_edwards_signature():
    jwks = KeySet.import_key_set({"keys": [{**ED.as_dict(private=False), "alg": "EdDSA"}]})
    assert verify(token(ED, "EdDSA"), jwks)


REFUSED = {
    "another issuer": ({"iss": "https://evil.example"}, "IssuerDiffers"),
    "an issuer with a slash more": ({"iss": ISSUER + "/"}, "IssuerDiffers"),
    "a list of issuers": ({"iss": [ISSUER]}, "IssuerDiffers"),
    "no issuer": ({"iss": None}, "ClaimMissing"),
    "another audience": ({"aud": "other"}, "AudienceDiffers"),
    "no audience": ({"aud": None}, "ClaimMissing"),
    "several audiences without a party": ({"aud": ["the-client", "api"]}, "AudienceDiffers"),
    "another party": ({"azp": "other"}, "AudienceDiffers"),
    "ended three minutes ago": ({"exp": seconds(minutes=-3)}, "Expired"),
    "no end": ({"exp": None}, "ClaimMissing"),
    "an end that is text": ({"exp": "never"}, "Expired"),
    "made three minutes from now": ({"iat": seconds(minutes=3)}, "NotYetValid"),
    "never made": ({"iat": None}, "ClaimMissing"),
    "not valid yet": ({"nbf": seconds(minutes=3)}, "NotYetValid"),
    "nobody": ({"sub": None}, "ClaimMissing"),
    "another nonce": ({"nonce": "other"}, "NonceDiffers"),
    "no nonce": ({"nonce": None}, "NonceDiffers"),
    "a nonce that is no text": ({"nonce": 5}, "NonceDiffers"),
}


@pytest.mark.parametrize(("claims", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(claims, reason):
    with pytest.raises(IdentityError) as caught:
        verify(token(**claims))
    assert caught.value.reason == reason


GOOD = {"sub": "alice", "iss": ISSUER, "aud": "the-client", "exp": seconds(minutes=5), "iat": seconds(), "nonce": "n"}


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def by_hand(header, secret=None):
    """A token with good claims; signed with HMAC when there is a secret, else with nothing."""
    said = ".".join(encoded(json.dumps(part).encode()) for part in (header, GOOD))
    signature = encoded(hmac.digest(secret, said.encode(), "sha256")) if secret else ""
    return SecretStr(f"{said}.{signature}")


UNSIGNED = {
    "no signature": (by_hand({"alg": "none"}), "Unreadable"),
    "no signature but an algorithm": (by_hand({"alg": "RS256", "kid": "rsa"}), "InvalidSignature"),
    "no algorithm": (by_hand({}), "Unreadable"),
    "an algorithm that is no text": (by_hand({"alg": ["RS256"]}), "Unreadable"),
    "the public key as a shared secret": (by_hand({"alg": "HS256", "kid": "rsa"}, RSA.as_pem(private=False)), "Unreadable"),
    "somebody else's key": (token(RSAKey.generate_key(2048, {"kid": "rsa"})), "InvalidSignature"),
    "a key that nobody publishes": (token(RSAKey.generate_key(2048, {"kid": "new"})), "UnknownKey"),
    "a key of another type": (token(EC, "ES256", {"kid": "rsa"}), "UnknownKey"),
    "another key of the same provider": (token(OTHER_RSA, "RS256", {"kid": "rsa"}), "InvalidSignature"),
    "a changed claim": (SecretStr(token().get_secret_value().replace(".", ".e", 1)), "Unreadable"),
    "no JWT": (SecretStr("opaque"), "Unreadable"),
    "nothing": (SecretStr(""), "Unreadable"),
    "no ASCII": (SecretStr("\u00e9.\u00e9.\u00e9"), "Unreadable"),
}


@pytest.mark.parametrize(("id_token", "reason"), UNSIGNED.values(), ids=UNSIGNED.keys())
def test_a_signature_is_needed(id_token, reason):
    with pytest.raises(IdentityError) as caught:
        verify(id_token)
    assert caught.value.reason == reason


def test_a_shared_secret_signs_nothing_even_when_it_is_published():
    secret = b"0123456789abcdef0123456789abcdef"
    jwks = KeySet([OctKey.import_key(secret, {"kid": "oct"})])
    with pytest.raises(IdentityError) as caught:
        verify(by_hand({"alg": "HS256", "kid": "oct"}, secret), jwks)
    assert caught.value.reason == "Unreadable"


def test_a_key_for_encryption_or_for_another_algorithm_does_not_sign():
    for restriction in ({"use": "enc"}, {"alg": "PS256"}):
        jwks = KeySet.import_key_set({"keys": [{**RSA.as_dict(private=False), **restriction}]})
        with pytest.raises(IdentityError) as caught:
            verify(token(), jwks)
        assert caught.value.reason == "UnknownKey"


def answer(id_token=None, access_token="opaque"):
    access = access_token if isinstance(access_token, SecretStr) else SecretStr(access_token)
    return TokenAnswer(access, id_token=id_token)


KNOWN = {"issuer": ISSUER, "client_id": "the-client", "nonce": "n", "now": NOW}


def test_an_id_token_from_the_token_endpoint_needs_no_key():
    stranger = token(RSAKey.generate_key(2048, {"kid": "new"}), email="alice@example.com")
    assert id_token_claims(answer(stranger), **KNOWN)["email"] == "alice@example.com"


@pytest.mark.parametrize("id_token", [None, SecretStr("opaque"), SecretStr("a.b.c.d.e")], ids=["none", "no JWT", "encrypted"])
def test_without_a_readable_id_token_there_are_no_claims(id_token):
    assert id_token_claims(answer(id_token), **KNOWN) is None


def test_an_access_token_is_read_whoever_it_is_for():
    assert access_token_claims(answer(access_token=token(aud="warehouse", iss="x")), now=NOW)["sub"] == "alice"


def test_an_opaque_access_token_tells_nothing():
    assert access_token_claims(answer(), now=NOW) is None


CONTRADICTIONS = {
    "another issuer": ({"iss": "https://evil.example"}, "IssuerDiffers"),
    "another client": ({"aud": "other"}, "AudienceDiffers"),
    "an end in the past": ({"exp": seconds(minutes=-3)}, "Expired"),
    "another nonce": ({"nonce": "other"}, "NonceDiffers"),
}


@pytest.mark.parametrize(("claims", "reason"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_an_id_token_that_contradicts_what_is_known_is_refused(claims, reason):
    with pytest.raises(IdentityError) as caught:
        id_token_claims(answer(token(**claims)), **KNOWN)
    assert caught.value.reason == reason


def test_what_is_not_known_is_not_compared():
    assert id_token_claims(answer(token(iss="x", aud="y", exp=1, nonce=None)))["sub"] == "alice"


def test_an_access_token_that_ended_tells_nothing():
    with pytest.raises(IdentityError):
        access_token_claims(answer(access_token=token(exp=seconds(minutes=-3))), now=NOW)

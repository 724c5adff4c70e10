"""Making and reading certificates (RFC 5280), as PEM text. Elliptic curve P-256 throughout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

BACKDATED = timedelta(minutes=5)
"""For clocks that are behind ours."""


@dataclass(frozen=True)
class Issued:
    """What decides about a certificate."""

    not_before: datetime
    not_after: datetime
    names: tuple[str, ...] = ()
    signed_by: str = ""
    """The authority's key identifier."""


def read(certificate: str | None, key: str | None) -> Issued | None:
    """A certificate with its key; None when either is missing, unreadable, or they do not belong together."""
    try:
        parsed = x509.load_pem_x509_certificate((certificate or "").encode())
        private = serialization.load_pem_private_key((key or "").encode(), None)
        signer = parsed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return None
    if parsed.public_key() != private.public_key():
        return None
    return Issued(parsed.not_valid_before_utc, parsed.not_valid_after_utc, _names(parsed), (signer or b"").hex())


def fingerprints(bundle: str | None) -> tuple[str, ...]:
    """The key identifiers of the authorities in a PEM bundle."""
    try:
        found = x509.load_pem_x509_certificates((bundle or "").encode())
        return tuple(
            authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex() for authority in found
        )
    except (ValueError, x509.ExtensionNotFound):
        return ()


def new_authority(now: datetime, lifetime: timedelta) -> tuple[str, str]:
    """A self-signed authority: certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cube-oauth-operator")])
    builder = _begun(name, name, key, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    return _pem(builder.sign(key, hashes.SHA256()), key)


def new_leaf(authority: str, authority_key: str, names: Iterable[str], now: datetime, lifetime: timedelta) -> tuple[str, str]:
    """A server's certificate for these DNS names: certificate and key. Raises ValueError when the authority is no authority."""
    signer = x509.load_pem_x509_certificate(authority.encode())
    signing = serialization.load_pem_private_key(authority_key.encode(), None)
    if not isinstance(signing, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not on an elliptic curve")  # noqa: TRY004 - a damaged Secret, no wrong call
    key = ec.generate_private_key(ec.SECP256R1())
    listed = tuple(names)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, min(listed, key=len)[:64])])
    builder = _begun(subject, signer.subject, key, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in listed]), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    return _pem(builder.sign(signing, hashes.SHA256()), key)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[str, str]:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()

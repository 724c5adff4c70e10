"""Self-made certificates for the parts when nobody gives them any."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """PEM files of a server's certificate and key, and of the authority to trust."""

    cert: Path
    key: Path
    ca: Path


def self_made(folder: Path, *names: str) -> Certificate:
    """Write tls.crt and tls.key for these DNS names or addresses; the certificate is its own authority."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    made = Certificate(cert=folder / "tls.crt", key=folder / "tls.key", ca=folder / "tls.crt")
    _write(made, _signed(names, key, by=(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), key), ca=True), key)
    return made


def issued(folder: Path, *names: str) -> Certificate:
    """Write the same from an authority of its own (ca.crt): snowflake-sdk waits for ever before a self-made certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = f"an authority of the tests {x509.random_serial_number():x}"[:64]  # two of one name would be taken for each other
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = Certificate(cert=folder / "tls.crt", key=folder / "tls.key", ca=folder / "ca.crt")
    root = _signed([name], authority, by=(issuer, authority), ca=True)
    made.ca.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    _write(made, _signed(names, key, by=(issuer, authority), ca=False), key)
    return made


def _signed(
    names: Sequence[str], key: ec.EllipticCurvePrivateKey, *, by: tuple[x509.Name, ec.EllipticCurvePrivateKey], ca: bool
) -> x509.Certificate:
    issuer, signer = by
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def _write(made: Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    made.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

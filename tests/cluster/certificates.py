"""Keys, certificates and kubeconfigs of one cluster; for tests only, so they live as long as a cluster may."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = dt.timedelta(days=3650)
_API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
NODE_NAME = "node1"
SERVICE_ADDRESS = "10.96.0.1"
"""The API server's own service: the first address of the service network."""

USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "proxy": ("system:kube-proxy", None),
}
"""Kubeconfig -> the user's name and group, which Kubernetes' default roles know."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority which writes what it signs into one folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("cube-oauth test cluster", None)
        usage = _usage(sign=True)
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        authority = cls(folder, key, certificate)
        authority._write("ca", key, certificate)
        return authority

    def server(self, file: str, name: str, addresses: Sequence[str], names: Sequence[str] = ()) -> None:
        alternatives: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        alternatives += [x509.DNSName(n) for n in names]
        self._issue(file, _name(name, None), ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(alternatives))

    def client(self, file: str, name: str, group: str | None) -> None:
        self._issue(file, _name(name, group), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(self, file: str, subject: x509.Name, purpose: x509.ObjectIdentifier, *more: x509.ExtensionType) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self.certificate.subject, key)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        self._write(file, key, builder.sign(self.key, hashes.SHA256()))

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        """Ties a certificate to this authority, without which a strict client (Python 3.13) refuses it."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())

    def _write(self, file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        _private(self.folder / f"{file}.key", _pem(key))
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def make(folder: Path, address: str, server: str, users: Sequence[str]) -> None:
    """Writes all certificates and kubeconfigs of a cluster.

    Args:
        folder: where to write; made if missing.
        address: where the cluster's servers listen.
        server: the API server's URL.
        users: which of ``USERS`` to make kubeconfigs for.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority.make(folder)
    authority.server("apiserver", "kube-apiserver", list({address, "127.0.0.1", SERVICE_ADDRESS}), _API_SERVER_NAMES)
    authority.server("etcd", "etcd", [address])
    authority.server("kubelet-server", NODE_NAME, [address], [NODE_NAME])
    authority.client("apiserver-client", "apiserver", "system:masters")  # towards etcd and the kubelet
    for user in users:
        authority.client(user, *USERS[user])
        _private(folder / f"{user}.kubeconfig", json.dumps(_kubeconfig(folder, server, user), indent=1).encode())
    _service_account_keys(folder)


def _service_account_keys(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _private(folder / "service-accounts.key", _pem(key))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "service-accounts.pub").write_bytes(public)


def _kubeconfig(folder: Path, server: str, user: str) -> dict[str, object]:
    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    identity = {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        "current-context": "test",
    }


def _name(common: str, group: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)

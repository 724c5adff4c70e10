"""The command lines of what every cluster has: etcd, API server and controller manager."""

from dataclasses import dataclass
from pathlib import Path

SERVICES = "10.96.0.0/16"
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Ports:
    """The ports of a control plane."""

    etcd: int
    peer: int
    controller_manager: int
    apiserver: int


@dataclass(frozen=True)
class Settings:
    """Where a control plane listens and keeps its files, as its own processes see it."""

    address: str
    ports: Ports
    keys: Path
    data: Path
    audit_log: Path | None = None

    @property
    def etcd_url(self) -> str:
        return f"https://{self.address}:{self.ports.etcd}"

    @property
    def server_url(self) -> str:
        return f"https://{self.address}:{self.ports.apiserver}"


def etcd(program: Path, settings: Settings) -> list[str | Path]:
    """One member. It asks for a client certificate, and does not sync to disk: these data may be lost."""
    peer = f"http://{settings.address}:{settings.ports.peer}"
    keys = settings.keys
    return [
        program,
        *("--name", "test", "--data-dir", settings.data / "etcd", "--log-level", "warn", "--unsafe-no-fsync"),
        "--enable-grpc-gateway=false",  # it would come without a client certificate, and be refused every few seconds
        *("--listen-client-urls", settings.etcd_url, "--advertise-client-urls", settings.etcd_url),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"test={peer}"),
        *(f"--cert-file={keys}/etcd.crt", f"--key-file={keys}/etcd.key"),
        *(f"--trusted-ca-file={keys}/ca.crt", "--client-cert-auth"),
        "--enable-grpc-gateway=false",  # it asks etcd without a client's certificate, and is refused every few seconds
    ]


def apiserver(program: Path, settings: Settings, *more: str) -> list[str | Path]:
    """The default admission plugins, and keys which sign service-account tokens."""
    keys = settings.keys
    return [
        program,
        *(f"--etcd-servers={settings.etcd_url}", f"--etcd-cafile={keys}/ca.crt"),
        *(f"--etcd-certfile={keys}/apiserver-client.crt", f"--etcd-keyfile={keys}/apiserver-client.key"),
        *(f"--bind-address={settings.address}", f"--advertise-address={settings.address}"),
        f"--secure-port={settings.ports.apiserver}",
        *(f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key"),
        f"--client-ca-file={keys}/ca.crt",
        f"--service-account-key-file={keys}/service-accounts.pub",
        f"--service-account-signing-key-file={keys}/service-accounts.key",
        f"--service-account-issuer={ISSUER}",
        *(f"--requestheader-client-ca-file={keys}/ca.crt", "--requestheader-allowed-names=front-proxy"),
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *(f"--service-cluster-ip-range={SERVICES}", "--allow-privileged=true"),
        *_audit(settings),
        *more,
    ]


def _audit(settings: Settings) -> list[str]:
    if settings.audit_log is None:
        return []
    return [f"--audit-log-path={settings.audit_log}", f"--audit-policy-file={settings.keys}/audit-policy.yaml"]


AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""


def controller_manager(program: Path, settings: Settings, *more: str) -> list[str | Path]:
    """Without leader election, and hasty: the first service account comes after one second instead of five."""
    keys, kubeconfig = settings.keys, settings.keys / "controller-manager.kubeconfig"
    return [
        program,
        *(f"--{use}kubeconfig={kubeconfig}" for use in ("", "authentication-", "authorization-")),
        *("--bind-address=127.0.0.1", f"--secure-port={settings.ports.controller_manager}"),
        *(f"--cert-dir={settings.data}/controller-manager", f"--flex-volume-plugin-dir={settings.data}/volume-plugins"),
        *(f"--service-account-private-key-file={keys}/service-accounts.key", f"--root-ca-file={keys}/ca.crt"),
        *(f"--cluster-signing-cert-file={keys}/ca.crt", f"--cluster-signing-key-file={keys}/ca.key"),
        *("--use-service-account-credentials", "--leader-elect=false"),
        *("--kube-api-qps=500", "--kube-api-burst=1000"),
        *more,
    ]

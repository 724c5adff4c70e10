"""Configuration files and command lines of what only a node has. Paths are those the node sees."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.certificates import NODE_NAME

PODS = "10.244.0.0/24"
PAUSE = "localhost/cube-oauth-pause:1"


@dataclass(frozen=True)
class Facts:
    """What the files depend on."""

    address: str
    inside: Path
    cgroup: str
    runc: Path
    plugins: Path
    snapshotter: str


def write(folder: Path, facts: Facts) -> None:
    """Writes all files into a folder, which the node sees at ``facts.inside``."""
    (folder / "cni").mkdir()
    (folder / "cni" / "10-pods.conflist").write_text(_pod_network(facts))
    (folder / "containerd.toml").write_text(_containerd(facts))
    (folder / "kubelet.yaml").write_text(json.dumps(_kubelet(facts), indent=1))
    (folder / "proxy.yaml").write_text(json.dumps(_proxy(facts), indent=1))
    (folder / "Corefile").write_text(_corefile(facts))
    (folder / "resolv.conf").write_text("")


def scheduler(program: Path, inside: Path) -> list[str | Path]:
    kubeconfig = inside / "keys" / "scheduler.kubeconfig"
    return [
        program,
        *(f"--{use}kubeconfig={kubeconfig}" for use in ("", "authentication-", "authorization-")),
        *("--bind-address=127.0.0.1", f"--cert-dir={inside}/data/scheduler", "--leader-elect=false"),
    ]


def kubelet(program: Path, inside: Path, address: str) -> list[str | Path]:
    return [
        program,
        *(f"--config={inside}/kubelet.yaml", f"--kubeconfig={inside}/keys/kubelet.kubeconfig"),
        *(f"--node-ip={address}", f"--hostname-override={NODE_NAME}"),
    ]


def _containerd(facts: Facts) -> str:
    """With cgroup v1 there is no systemd driver; a negative OOM score is not allowed everywhere, so none is asked for."""
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile",
]

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{facts.snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{facts.plugins}"]
    conf_dir = "{facts.inside}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{facts.runc}"
        SystemdCgroup = false
"""


def _pod_network(facts: Facts) -> str:
    """Every pod has its own link to the node, which routes between them: so no bridge, and no br_netfilter."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}, indent=1)


def _kubelet(facts: Facts) -> dict[str, object]:
    keys = facts.inside / "keys"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": facts.address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{keys}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{keys}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{keys}/kubelet-server.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": facts.cgroup,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "resolvConf": f"{facts.inside}/resolv.conf",
        "clusterDomain": "cluster.local",
        "clusterDNS": [facts.address],
        "volumePluginDir": f"{facts.inside}/data/volume-plugins",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(facts: Facts) -> dict[str, object]:
    """nftables: the fastest, and it needs nothing but nft. Limits of connection tracking are the whole kernel's."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": f"{facts.inside}/keys/proxy.kubeconfig"},
        "clusterCIDR": PODS,
        "hostnameOverride": NODE_NAME,
        "oomScoreAdj": 0,
        "bindAddress": facts.address,
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "nodePortAddresses": [f"{facts.address}/32"],
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _corefile(facts: Facts) -> str:
    return f"""\
.:53 {{
  bind {facts.address}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {facts.inside}/keys/admin.kubeconfig test
    pods insecure
  }}
  cache 5
}}
"""

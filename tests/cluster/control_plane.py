"""An API server with its store and controllers on 127.0.0.1, for any user: API tests without a node."""

from collections.abc import Sequence
from pathlib import Path

from tests.cluster import binaries, components, processes, state
from tests.cluster.commands import ClusterError
from tests.cluster.components import Ports
from tests.cluster.local import LocalCluster, register
from tests.cluster.processes import Process
from tests.cluster.state import State

_ADDRESS = "127.0.0.1"
_CHOICE = range(21400, 31400)
"""Below what Linux hands out to outgoing connections, so that no connection takes a port while we look."""


@register
class ControlPlane(LocalCluster):
    """etcd, kube-apiserver and kube-controller-manager. No scheduler: pods stay Pending.

    Webhooks are reached by ``url: https://127.0.0.1:...`` with a ``caBundle``. Several run side by side.

    Args:
        name: also the name of its folder.
        audit_log: write ``audit_log``.
        api_port: the API server's port; a free one when None. A taken one is refused.
    """

    kind = "control-plane"
    programs = binaries.CONTROL_PLANE
    users = ("admin", "controller-manager")
    host_address = _ADDRESS

    def __init__(self, name: str, *, audit_log: bool = False, api_port: int | None = None) -> None:
        super().__init__(name, audit_log=audit_log)
        self._api_port = api_port

    def load_image(self, archive: Path) -> None:
        raise ClusterError(f"{archive.name}: a control plane runs no pods, so it needs no images")

    def _prepare(self) -> None:
        binaries.ensure(self.programs)

    def _plan(self, owner: Process | None) -> State:
        ports = _choose(self._api_port)
        return State(self.kind, _ADDRESS, ports, self._fingerprint(), owner, audited=self._audited)

    def _start(self) -> None:
        programs, settings = binaries.ensure(self.programs), self._settings()
        self._make_keys()
        self._run("etcd", components.etcd(programs["etcd"], settings))
        self._wait("etcd", self._etcd_ready, 120)
        self._owned("etcd", settings.ports.etcd)
        self._start_apiserver()
        self._wait("the API server", lambda: self.answers("/readyz"), 120)
        self._owned("apiserver", settings.ports.apiserver)
        self._run("controller-manager", components.controller_manager(programs["kube-controller-manager"], settings))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait("the default service account", lambda: self.answers(account), 120)

    def _start_apiserver(self) -> None:
        program = binaries.ensure(self.programs)["kube-apiserver"]
        more = ("--authorization-mode=RBAC", "--endpoint-reconciler-type=none")
        self._run("apiserver", components.apiserver(program, self._settings(), *more))

    def _stop(self, known: State) -> None:
        for process in reversed(known.processes.values()):
            process.stop()

    def _spawn(self, name: str, command: Sequence[str | Path]) -> Process:
        return processes.start(name, command, self.logs / f"{name}.log")

    def _owned(self, name: str, port: int) -> None:
        if not processes.listens(self.state.processes[name], port):
            raise ClusterError(f"port {port} answers, but is not our {name}: another program listens there")


def _choose(api_port: int | None) -> Ports:
    """Four ports which are free, and which no other cluster is about to use."""
    if api_port is not None and processes.taken(_ADDRESS, api_port):
        raise ClusterError(f"port {api_port} of {_ADDRESS} is taken: choose another, or none to get a free one")
    promised = {port for known in state.all_states().values() for port in vars(known.ports).values()} | {api_port}
    free = (port for port in _CHOICE if port not in promised and not processes.taken(_ADDRESS, port))
    return Ports(next(free), next(free), next(free), api_port or next(free))

"""Deployments and the like where no node is, and what webhook and kubelet would do to their pods."""

from tests.control_plane.harness import eventually

CONTAINERS = [{"name": "cube", "image": "cubejs/cube"}]


class Workloads:
    """Deployments and the like of one namespace, and what webhook and kubelet do to their pods."""

    def __init__(self, kube, namespace):
        self._kube, self._namespace = kube, namespace
        self._pods = f"/api/v1/namespaces/{namespace}/pods"

    def path(self, kind, name=""):
        return f"/apis/apps/v1/namespaces/{self._namespace}/{kind.lower()}s/{name}".rstrip("/")

    def create(self, name, kind="Deployment", *, annotations=None, template=None, containers=None, **spec):
        metadata = {"labels": {"app": name, "cubeoauth.dev/inject": "true"}, "annotations": template or {}}
        spec |= {"selector": {"matchLabels": {"app": name}}}
        spec |= {"template": {"metadata": metadata, "spec": {"containers": containers or CONTAINERS}}}
        return self._kube.create(self.path(kind), {"metadata": {"name": name, "annotations": annotations or {}}, "spec": spec})

    def get(self, kind, name):
        return self._kube.get(self.path(kind, name))

    def pods(self, name):
        found = self._kube.items(f"{self._pods}?labelSelector=app={name}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def run(self, selector):
        """As the kubelet says it: all of these pods are ready."""
        for pod in self._kube.items(f"{self._pods}?labelSelector={selector}"):
            if pod["status"]["phase"] != "Running":
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-25T00:00:00Z"}
                path = f"{self._pods}/{pod['metadata']['name']}/status"
                self._kube.patch(path, {"status": {"phase": "Running", "conditions": [ready]}})

    def injected(self, image, *names, count=1):
        """Every pod that has no sidecar yet has this one, and runs."""
        for name in names:
            eventually(lambda name=name: len(self.pods(name)) >= count)
            for pod in self.pods(name):
                path = f"{self._pods}/{pod['metadata']['name']}"
                if "cubeoauth.dev/injected" not in pod["metadata"].get("annotations", {}):
                    self._kube.patch(path, {"metadata": {"annotations": {"cubeoauth.dev/injected": f"v1 {image}"}}})
            self.run(f"app={name}")

    def available(self, kind, name, count=1):
        def counted():
            found = self.get(kind, name)
            status = found.get("status", {})
            observed = status.get("observedGeneration") == found["metadata"]["generation"]
            counts = {status.get(kind, 0) for kind in ("replicas", "updatedReplicas", "availableReplicas")}
            return observed and counts == {count}  # in the middle of a rollout one is updated, and another available

        eventually(counted)

    def restarted(self, *names):
        """Which of these Deployments have been restarted, and for what."""
        templates = {name: self.get("Deployment", name)["spec"]["template"]["metadata"] for name in names}
        found = {name: meta.get("annotations", {}).get("restarted.cubeoauth.dev/sidecar") for name, meta in templates.items()}
        return {name: version for name, version in found.items() if version}

"""An API server of dictionaries, with resource versions and with faults, and a provider that counts."""

import copy
from dataclasses import replace

from pydantic import SecretStr

from cube_oauth.kube.api import KubeError
from cube_oauth.providers import TokenAnswer


class FakeApi:
    """Objects by path; ``faults`` are raised by the next writes instead of writing (or after it, when ``after`` is set)."""

    def __init__(self):
        self.objects = {}
        self.version = 100
        self.faults = []
        self.writes = []
        self.lists = 0
        self.list_fault = None
        self.before_write = lambda: None

    def store(self, path, body):
        self.version += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self.version)
        if path in self.objects and self.objects[path].get("spec") != body.get("spec"):
            body["metadata"]["generation"] = body["metadata"].get("generation", 0) + 1
        self.objects[path] = body
        return copy.deepcopy(body)

    async def get(self, resource, name, namespace=None):
        return copy.deepcopy(self.objects.get(resource.path(namespace, name)))

    async def list(self, resource, namespace=None, **query):
        self.lists += 1
        if self.list_fault:
            raise self.list_fault
        under = f"{resource.path(namespace)}/"
        return {"items": [copy.deepcopy(item) for path, item in self.objects.items() if path.startswith(under)]}

    async def create(self, resource, body, namespace=None):
        return self._write(resource.path(namespace, body["metadata"]["name"]), body, "POST")

    async def replace(self, resource, body):
        meta = body["metadata"]
        return self._write(resource.path(meta["namespace"], meta["name"]), body, "PUT")

    async def merge(self, resource, name, body, namespace=None):
        path = resource.path(namespace, name)
        self.writes.append(("PATCH", path))
        return self.store(path, {**self.objects[path], **body})

    async def apply(self, resource, body, *, field_manager, subresource=None):
        meta = body["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        self.writes.append(("PATCH", path))
        self.before_write()
        known = self.objects[path]
        others = {key: value for key, value in known.get("status", {}).items() if key == "demand"}
        return self.store(path, {**known, "status": {**body["status"], **others}})

    async def delete(self, resource, name, namespace=None, *, uid=None, resource_version=None):
        path = resource.path(namespace, name)
        there = self.objects.get(path)
        if there and resource_version and resource_version != there["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", path)
        self.writes.append(("DELETE", path))
        return self.objects.pop(path, None) is not None

    def _write(self, path, body, method):
        self.before_write()
        fault = self.faults.pop(0) if self.faults else None
        if fault and not getattr(fault, "after", False):
            raise fault
        known = self.objects.get(path)
        if method == "POST" and known:
            raise KubeError(409, "AlreadyExists", path)
        if method == "PUT" and known is None:
            raise KubeError(404, "NotFound", path)
        if method == "PUT" and body["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", path)
        self.writes.append((method, path))
        written = self.store(path, body)
        if fault:
            raise fault
        return written


class UnansweredError(KubeError):
    """It was written, but nobody heard."""

    after = True

    def __init__(self):
        super().__init__(0, "TimeoutError", "PUT")


class FakeProvider:
    """Gives new tokens, or raises; remembers what it was asked."""

    def __init__(self, answer: TokenAnswer):
        self.answer = answer
        self.problem = None
        self.redeemed = []
        self.revoked = []
        self.meanwhile = lambda: None
        self.exchanged, self.exchange_problem, self.before_exchange = [], None, None

    async def refresh(self, endpoints, client, refresh_token, *, within=None):
        self.redeemed.append(refresh_token.get_secret_value())
        self.meanwhile()
        if self.problem:
            raise self.problem
        return self.answer

    async def exchange_token(self, endpoints, client, answer, *, within=None):
        self.exchanged.append(answer.access_token.get_secret_value())
        if self.before_exchange:
            await self.before_exchange()
        if self.exchange_problem:
            raise self.exchange_problem
        return replace(answer, access_token=SecretStr(f"warehouse-{answer.access_token.get_secret_value()}"))

    async def revoke(self, endpoints, client, token, hint="refresh_token"):
        self.revoked.append(token.get_secret_value())

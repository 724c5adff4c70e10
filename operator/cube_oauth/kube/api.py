"""Requests to the API server, as JSON, over the official client's transport and configuration.

The generated classes of the official client would validate every object twice and know nothing of our kinds, so this uses the
client for what is hard (kubeconfig, in-cluster credentials and their renewal, TLS) and speaks JSON for the rest.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Object = dict[str, Any]

REQUEST_TIMEOUT = 15.0
"""Seconds for one request that is no watch: a hung API server must not hold up a shutdown."""


@dataclass(frozen=True)
class Resource:
    """One kind, by its path: ``Resource("/apis/cubeoauth.dev/v1alpha1", "oauthapps")``."""

    base: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection (no ``name``) or an object; cluster-scoped without ``namespace``."""
        parts = [self.base]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


OAUTH_APPS = Resource("/apis/cubeoauth.dev/v1alpha1", "oauthapps")
USER_CREDENTIALS = Resource("/apis/cubeoauth.dev/v1alpha1", "usercredentials")
SECRETS = Resource("/api/v1", "secrets")
CONFIG_MAPS = Resource("/api/v1", "configmaps")
NAMESPACES = Resource("/api/v1", "namespaces")
EVENTS = Resource("/apis/events.k8s.io/v1", "events")
PODS = Resource("/api/v1", "pods")
DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")
STATEFUL_SETS = Resource("/apis/apps/v1", "statefulsets")
DAEMON_SETS = Resource("/apis/apps/v1", "daemonsets")
REPLICA_SETS = Resource("/apis/apps/v1", "replicasets")
LEASES = Resource("/apis/coordination.k8s.io/v1", "leases")
TOKEN_REVIEWS = Resource("/apis/authentication.k8s.io/v1", "tokenreviews")
MUTATING_WEBHOOKS = Resource("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")


class KubeError(Exception):
    """The API server refused or could not be reached. The message never holds a body: one could hold a Secret."""

    def __init__(self, status: int, reason: str, what: str) -> None:
        super().__init__(f"{what}: {status or 'no answer'} {reason}")
        self.status = status
        self.reason = reason

    @property
    def conflict(self) -> bool:
        """Somebody else wrote in between, or the object exists already."""
        return self.status == 409  # noqa: PLR2004

    @property
    def not_found(self) -> bool:
        """There is no such object, or no such kind."""
        return self.status == 404  # noqa: PLR2004


class Api:
    """JSON in, JSON out. Raises KubeError for every refusal and for every failure to reach the API server."""

    def __init__(self, api_client: Any) -> None:
        self.client = api_client

    @classmethod
    @asynccontextmanager
    async def connect(cls, kubeconfig: str | None = None) -> AsyncIterator[Api]:
        """In a pod with its service account, elsewhere with the kubeconfig (``KUBECONFIG`` or the default one)."""
        configuration = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(kubeconfig, client_configuration=configuration)
        else:
            try:
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                await config.load_kube_config(client_configuration=configuration)
        # With trust_env, aiohttp looks for a netrc file in a thread before each request: only when there is a proxy to be found.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
        async with client.ApiClient(configuration) as api_client:
            yield cls(api_client)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None when there is none."""
        try:
            return await self.request("GET", resource.path(namespace, name))
        except KubeError as error:
            if error.not_found:
                return None
            raise

    async def list(self, resource: Resource, namespace: str | None = None, **query: str) -> Object:
        """The list object (``items``, ``metadata.resourceVersion``); ``labelSelector=…`` and the like as keywords."""
        return await self.request("GET", resource.path(namespace), query=query)

    async def create(self, resource: Resource, body: Object, namespace: str | None = None) -> Object:
        """Create; a KubeError with ``conflict`` when the name is taken."""
        return await self.request("POST", resource.path(namespace), body=body)

    async def replace(self, resource: Resource, body: Object) -> Object:
        """Update the whole object: compare-and-swap by its ``metadata.resourceVersion``."""
        meta = body["metadata"]
        return await self.request("PUT", resource.path(meta.get("namespace"), meta["name"]), body=body)

    async def apply(self, resource: Resource, body: Object, *, field_manager: str, subresource: str | None = None) -> Object:
        """Server-side apply, forced: these fields are ours (Kubernetes, "Server-Side Apply")."""
        meta = body["metadata"]
        return await self.request(
            "PATCH",
            resource.path(meta.get("namespace"), meta["name"], subresource),
            query={"fieldManager": field_manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    async def merge(
        self,
        resource: Resource,
        name: str,
        body: Object,
        namespace: str | None = None,
        subresource: str | None = None,
        *,
        field_manager: str | None = None,
    ) -> Object:
        """A JSON merge patch (RFC 7386). With ``metadata.uid`` in it, only to that very object."""
        return await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            query={"fieldManager": field_manager} if field_manager else None,
            body=body,
            content_type="application/merge-patch+json",
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> bool:
        """Delete; False when it was gone already.

        With ``uid`` only that very object, with ``resource_version`` only that version: otherwise a KubeError with ``conflict``.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if any(preconditions.values()):
            options["preconditions"] = {name: value for name, value in preconditions.items() if value}
        try:
            await self.request("DELETE", resource.path(namespace, name), body=options)
        except KubeError as error:
            if error.not_found:
                return False
            raise
        return True

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        request_timeout: float = REQUEST_TIMEOUT,
    ) -> Object:
        """One request; the answer's JSON. Raises KubeError."""
        what = f"{method} {path}"
        try:
            async with asyncio.timeout(request_timeout):
                response = await self._send(method, path, query, body, content_type, request_timeout)
                try:
                    raw = await response.read()
                finally:
                    response.release()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise KubeError(0, type(error).__name__, what) from error
        answer = _parsed(raw, what)
        if response.status >= 400:  # noqa: PLR2004
            raise KubeError(response.status, str(answer.get("reason") or "refused"), what)
        if not answer:  # it may have been done all the same, as when the connection broke
            raise KubeError(0, "the answer holds no object: is something between us and the API server?", what)
        return answer

    async def lines(self, path: str, query: dict[str, str], read_timeout: float) -> AsyncIterator[Object]:
        """A watch: the answer's JSON lines. Raises KubeError, also when nothing came for ``read_timeout`` seconds."""
        what = f"WATCH {path}"
        try:
            response = await self._send("GET", path, query, None, "application/json", None)
            try:
                if response.status >= 400:  # noqa: PLR2004
                    answer = _parsed(await response.read(), what)
                    raise KubeError(response.status, str(answer.get("reason") or "refused"), what)
                while line := await _line(response, read_timeout):
                    yield _parsed(line, what)
            finally:
                response.close()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise KubeError(0, type(error).__name__, what) from error

    async def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        body: Object | None,
        content_type: str,
        total: float | None,
    ) -> aiohttp.ClientResponse:
        url = path + (f"?{urlencode(query)}" if query else "")
        serialized = await self.client.param_serialize(
            method,
            url,
            header_params={"Accept": "application/json", "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        answer = await self.client.rest_client.request(
            serialized[0],
            serialized[1],
            headers=serialized[2],
            body=body,
            _request_timeout=aiohttp.ClientTimeout(total=total, sock_connect=5),
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def _line(response: aiohttp.ClientResponse, read_timeout: float) -> bytes:
    async with asyncio.timeout(read_timeout):  # wait_for would make a task for each line
        return await response.content.readline()


def _parsed(raw: bytes, what: str) -> Object:
    try:
        parsed = json.loads(raw) if raw else {}
    except ValueError as error:
        raise KubeError(0, "the answer is no JSON: is something between us and the API server?", what) from error
    return parsed if isinstance(parsed, dict) else {}

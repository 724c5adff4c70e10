"""The form for an OAuthApp: what was typed, what is wrong with it, and the objects that it describes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import yaml

from cube_oauth.portal.texts import Text, say
from cube_oauth.providers import PRESETS
from cube_oauth.resources.names import API_VERSION, CLIENT_CONSENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL
from cube_oauth.resources.oauthapp import Preset

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cube_oauth.providers.presets import ProviderPreset
    from cube_oauth.resources.oauthapp import OAuthApp

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SCOPE = re.compile(r"[!#-\[\]-~]+")
"""RFC 6749, section 3.3."""
PARAMETER = "parameter-"
"""Prefix of the fields for a preset's parameters."""
_ADDRESSES = ("issuer_url", "authorization_url", "token_url")


def slug(title: str) -> str:
    """A resource's name from what people call it."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:63].rstrip("-")


@dataclass(frozen=True)
class AppForm:
    """What was typed. The client secret is no part of it: it is shown to nobody, not even to who typed it."""

    preset: str = "generic"
    namespace: str = ""
    title: str = ""
    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    issuer_url: str = ""
    authorization_url: str = ""
    token_url: str = ""
    client_id: str = ""
    public: bool = False
    """A client without a secret."""
    scopes: str = ""
    endpoints: bool = False
    """Whether the app has addresses of its own although the preset knows some."""

    @classmethod
    def empty(cls, preset: str, namespace: str) -> Self:
        """With what the preset knows. Raises KeyError for an unknown one."""
        return cls(preset=preset, namespace=namespace, scopes=" ".join(PRESETS[Preset(preset)].scopes))

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From the form's fields. Raises ValueError for a preset that does not exist."""

        def text(name: str) -> str:
            return str(fields.get(name, "")).strip()

        preset = Preset(text("preset"))
        parameters = {known.name: text(PARAMETER + known.name) for known in PRESETS[preset].parameters}
        return cls(
            preset=str(preset),
            namespace=text("namespace"),
            title=text("title"),
            name=text("name") or slug(text("title")),
            parameters={name: value for name, value in parameters.items() if value},
            issuer_url=text("issuer"),
            authorization_url=text("authorization"),
            token_url=text("token_url"),
            client_id=text("client_id"),
            public=bool(text("public")),
            scopes=" ".join(text("scopes").split()),
        )

    @classmethod
    def of(cls, app: OAuthApp) -> Self:
        """With what an app says already."""
        spec = app.spec
        return cls(
            preset=str(spec.provider.name),
            namespace=app.metadata.namespace,
            title=app.title,
            name=app.metadata.name,
            parameters=dict(spec.provider.parameters),
            issuer_url=spec.issuer_url or "",
            authorization_url=spec.authorization_url or "",
            token_url=spec.token_url or "",
            client_id=spec.client_id,
            public=spec.client_secret_ref is None,
            scopes=" ".join(spec.scopes or PRESETS[spec.provider.name].scopes),
            endpoints=bool(spec.issuer_url or spec.authorization_url or spec.token_url),
        )

    @classmethod
    def typed(cls, app: OAuthApp, fields: Mapping[str, Any]) -> Self:
        """An app's form with other values; its name, namespace and preset stay, and so does what the form has no field for."""
        before, read = cls.of(app), cls.read({**fields, "preset": str(app.spec.provider.name)})
        known = {parameter.name for parameter in before.known.parameters}
        parameters = {name: value for name, value in before.parameters.items() if name not in known}
        addresses = {name: getattr(read if before.asks_for_endpoints else before, name) for name in _ADDRESSES}
        return replace(
            before,
            title=read.title,
            parameters={**parameters, **read.parameters},
            client_id=read.client_id,
            public=read.public,
            scopes=read.scopes,
            **addresses,
        )

    @property
    def known(self) -> ProviderPreset:
        """What the preset knows."""
        return PRESETS[Preset(self.preset)]

    @property
    def asks_for_endpoints(self) -> bool:
        """Whether addresses can be typed: the preset knows none, or the app has its own."""
        return self.endpoints or not self._knows_endpoints

    @property
    def _knows_endpoints(self) -> bool:
        return bool(self.known.issuer or self.known.authorization_url)

    @property
    def secret_name(self) -> str:
        """The client Secret's name, in the app's namespace."""
        return f"{self.name}-client"

    def problems(self, namespaces: Collection[str]) -> dict[str, Text]:
        """What has to be corrected, by field. No ``namespaces``: all are watched."""
        found = {
            "namespace": _unless(not namespaces or self.namespace in namespaces, "form.namespace"),
            "title": _unless(0 < len(self.title) <= 80, "form.title"),  # noqa: PLR2004 - spec.displayName's length
            "name": _unless(bool(_NAME.fullmatch(self.name)), "form.name"),
            "client_id": _unless(bool(self.client_id), "form.client-id"),
            "scopes": _unless(all(_SCOPE.fullmatch(scope) for scope in self.scopes.split()), "form.scopes"),
            **self._parameter_problems(),
            **(self._endpoint_problems() if self.asks_for_endpoints else {}),
        }
        return {name: problem for name, problem in found.items() if problem}

    def app(self) -> dict[str, Any]:
        """The OAuthApp."""
        provider = {"name": self.preset, **({"parameters": dict(self.parameters)} if self.parameters else {})}
        endpoints = {"issuerURL": self.issuer_url, "authorizationURL": self.authorization_url, "tokenURL": self.token_url}
        scopes = self.scopes.split()
        return {
            "apiVersion": API_VERSION,
            "kind": "OAuthApp",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "displayName": self.title,
                **({"provider": provider} if self.preset != "generic" else {}),
                **({key: value for key, value in endpoints.items() if value} if self.asks_for_endpoints else {}),
                "clientID": self.client_id,
                **({"clientSecretRef": {"name": self.secret_name}} if not self.public else {}),
                **({"scopes": scopes} if scopes and tuple(scopes) != self.known.scopes else {}),
            },
        }

    def made_here(self) -> dict[str, Any]:
        """The OAuthApp as the portal creates it: it says so."""
        app = self.app()
        return {**app, "metadata": {**app["metadata"], "labels": {MANAGED_BY_LABEL: MANAGED_BY}}}

    def yaml(self) -> str:
        """The OAuthApp for a repository."""
        return str(yaml.safe_dump(self.app(), sort_keys=False, allow_unicode=True))

    @property
    def commands(self) -> str:
        """Make the client Secret; its value is typed, so that it is neither in the shell's history nor in the list of processes."""
        secret = f"-n {self.namespace} secret"
        return (
            f"read -rs VALUE  # the client secret, then Enter\n"
            f'printf %s "$VALUE" | kubectl create {secret} generic {self.secret_name} --from-file=clientSecret=/dev/stdin\n'
            f"unset VALUE\n"
            f"kubectl label {secret} {self.secret_name} {CLIENT_CONSENT_LABEL}={self.name}\n"
        )

    def advice(self, parameter: str) -> Text:
        """What to write for a parameter of the preset."""
        return Text(f"advice.{self.preset}.{parameter}")

    def _parameter_problems(self) -> dict[str, Text | None]:
        return {
            PARAMETER + known.name: _unless(
                known.accepts(self.parameters.get(known.name)),
                "form.parameter",
                advice=self.advice(known.name),
            )
            for known in self.known.parameters
        }

    def _endpoint_problems(self) -> dict[str, Text | None]:
        typed = {"issuer": self.issuer_url, "authorization": self.authorization_url, "token_url": self.token_url}
        enough = bool(self._knows_endpoints or self.issuer_url or (self.authorization_url and self.token_url))
        wrong = {name: _unless(not value or _https(value), "form.url") for name, value in typed.items()}
        return {**wrong, "issuer": wrong["issuer"] or _unless(enough, "form.endpoints")}


def _unless(good: bool, key: str, **values: object) -> Text | None:
    return None if good else Text(key, values)


def _https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:  # of a broken IPv6 address, or a port that is none
        return False


def presets() -> list[tuple[str, Text]]:
    """The presets with their titles: those that know addresses first, any other provider last."""
    named = sorted(
        (name for name in PRESETS if name is not Preset.GENERIC),
        key=lambda name: (AppForm(preset=str(name)).asks_for_endpoints, PRESETS[name].title.casefold()),
    )
    return [*((str(name), Text(f"preset.{name}")) for name in named), (str(Preset.GENERIC), say("form.generic"))]

"""What a changed form does to an OAuthApp, and to the people who are connected. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from cube_oauth.lifecycle.decide import origin
from cube_oauth.portal.appform import AppForm
from cube_oauth.portal.texts import Text, say
from cube_oauth.resources.names import API_VERSION, digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.portal.origin import ListedApp

_TEXTS = {
    "title": "displayName",
    "issuer_url": "issuerURL",
    "authorization_url": "authorizationURL",
    "token_url": "tokenURL",
    "client_id": "clientID",
}
"""The form's attributes, and the fields of the spec that hold the same text."""
FIELDS = {
    "title": "title",
    "issuer": "issuer_url",
    "authorization": "authorization_url",
    "token_url": "token_url",
    "client_id": "client_id",
    "scopes": "scopes",
}
"""The fields of the page, and the form's attributes."""


@dataclass(frozen=True)
class Change:
    """An OAuthApp, and what its form says now."""

    app: ListedApp
    form: AppForm

    @property
    def before(self) -> AppForm:
        """What the form said."""
        return AppForm.of(self.app)

    @property
    def patch(self) -> dict[str, Any]:
        """What changes of the spec: a JSON merge patch (RFC 7386), so that what the form has no field for stays."""
        form, before = self.form, self.before
        texts = {key: getattr(form, name) or None for name, key in _TEXTS.items() if getattr(form, name) != getattr(before, name)}
        parameters = _differences(before.parameters, form.parameters)
        return {
            **texts,
            **({"provider": {"parameters": parameters}} if parameters else {}),
            **({"clientSecretRef": self._secret} if form.public != before.public or self.moves else {}),
            **({"scopes": form.scopes.split() or None} if form.scopes != before.scopes else {}),
        }

    @property
    def signs_out(self) -> bool:
        """Whether everybody who is connected surely has to sign in again: tokens belong to one client and one token endpoint."""
        return self.form.client_id != self.before.client_id or bool(self.form.token_url and self._token_url_moves)

    @property
    def may_sign_out(self) -> bool:
        """Whether they have to if the provider's token endpoint turns out to be another."""
        return not self.signs_out and {"issuerURL", "tokenURL", "provider"} & set(self.patch) != set()

    @property
    def moves(self) -> bool:
        """Whether the client secret would be sent elsewhere: then it is typed anew, and the one that is there goes nowhere."""
        form, before = self.form, self.before
        if form.public or before.public:
            return False
        issuer_moves = bool(form.issuer_url) and _moved(before.issuer_url, form.issuer_url)
        return form.parameters != before.parameters or issuer_moves or self._token_url_moves

    @property
    def needs_secret(self) -> bool:
        """Whether a client secret has to be typed."""
        return self.moves or (self.before.public and not self.form.public)

    def effect(self, connected: int) -> Text | None:
        """What it does to the people who are connected; None when it does nothing to them."""
        if not connected or not (self.signs_out or self.may_sign_out):
            return None
        return say("edit.signs-out" if self.signs_out else "edit.may-sign-out", number=connected)

    def theirs(self) -> dict[str, Text]:
        """Where the app says something else than what was typed, by the page's fields."""
        form, before = self.form, self.before
        parameters = {f"parameter-{name}": value for name, value in _differences(form.parameters, before.parameters).items()}
        texts = {page: getattr(before, name) for page, name in FIELDS.items() if getattr(before, name) != getattr(form, name)}
        return {page: say("edit.theirs", value=value or "-") for page, value in {**texts, **parameters}.items()}

    def yaml(self) -> str:
        """For the repository that the app comes from: the fields that change; ``null`` for one to remove."""
        meta = self.app.metadata
        spec = dict(self.patch)
        if self.moves:
            del spec["clientSecretRef"]  # there, whoever changes the address changes the Secret as well
        body = {
            "apiVersion": API_VERSION,
            "kind": "OAuthApp",
            "metadata": {"name": meta.name, "namespace": meta.namespace},
            "spec": spec,
        }
        return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True))

    @property
    def _token_url_moves(self) -> bool:
        """Whether the token endpoint is at another origin, or nobody knows yet where."""
        if self.form.token_url == self.before.token_url:
            return False
        return not self.form.token_url or _moved(self.app.status.token_url or self.before.token_url, self.form.token_url)

    @property
    def _secret(self) -> dict[str, str] | None:
        """A Secret of another name where it would be sent elsewhere: so the one that is there never is, not even for a moment."""
        form = self.form
        if form.public:
            return None
        where = digest(form.issuer_url, form.token_url, *(f"{name}={value}" for name, value in sorted(form.parameters.items())))
        return {"name": f"{form.secret_name}-{where[:8]}" if self.moves else form.secret_name}


def version(app: ListedApp) -> str:
    """Changes when somebody changes the spec, and not with what the controller writes into the status."""
    return f"{app.metadata.uid}/{app.metadata.generation}"


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    names = {**before, **after}
    return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


def _moved(before: str, after: str) -> bool:
    return before != after and origin(before) != origin(after)

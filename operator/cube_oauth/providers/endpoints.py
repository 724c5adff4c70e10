"""Where a provider is asked and how: what the spec says, then the preset, then discovery. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.decide import origin
from cube_oauth.providers.errors import ENDPOINT_MISSING, SUBJECT_ENDPOINT_MISSING, error
from cube_oauth.providers.presets import PRESETS, SUBJECTS, Exchange, rendered_parameters
from cube_oauth.resources.accounts import ACCESS_TOKEN
from cube_oauth.resources.oauthapp import AssertionAudience, ClientAuthentication, RequestFormat, SubjectSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.lifecycle.authorize import SubjectRule
    from cube_oauth.providers.presets import ProviderPreset
    from cube_oauth.resources.oauthapp import OAuthApp


@dataclass(frozen=True)
class ServerMetadata:
    """What a discovery document says (OpenID Connect Discovery, section 3; RFC 8414, section 2)."""

    issuer: str
    authorization_url: str
    token_url: str
    revocation_url: str | None = None
    jwks_url: str | None = None
    userinfo_url: str | None = None
    introspection_url: str | None = None
    end_session_url: str | None = None
    """Where a browser logs out (OpenID Connect RP-Initiated Logout 1.0, section 2.1)."""
    client_authentications: tuple[str, ...] = ("client_secret_basic",)
    """``token_endpoint_auth_methods_supported``; the default is the RFC's."""
    iss_in_answers: bool = False
    """``authorization_response_iss_parameter_supported`` (RFC 9207, section 3)."""


@dataclass(frozen=True)
class Endpoints:
    """All that a request to a provider needs beside the client's own ID and secret."""

    authorization_url: str
    token_url: str
    issuer: str | None = None
    revocation_url: str | None = None
    jwks_url: str | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC
    assertion_audience: str | None = None
    """Whom a signed assertion is for, if not for the token endpoint."""
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    request_format: RequestFormat = RequestFormat.FORM
    authorization_parameters: Mapping[str, str] = field(default_factory=dict)
    token_parameters: Mapping[str, str] = field(default_factory=dict)
    refresh_parameters: Mapping[str, str] = field(default_factory=dict)
    subject: SubjectRule = SUBJECTS[SubjectSource.NONE]
    """Where the provider says who authorized."""
    subject_url: str | None = None
    """The userinfo or introspection endpoint, when ``subject`` needs one."""
    exchange: Exchange | None = None
    """How the provider's token becomes the warehouse's own, if it does."""
    iss_required: bool = False
    """Whether the answer to an authorization request must name the issuer (RFC 9207, section 2.4)."""

    @property
    def incomplete(self) -> bool:
        """Whether the answer to a code is not all that is needed: somebody has to be asked once more."""
        return self.subject.asks or self.exchange is not None


@dataclass(frozen=True)
class _Addresses:
    """Where the provider is, before the app's own defaults and parameters are added."""

    issuer: str | None = None
    authorization_url: str | None = None
    token_url: str | None = None
    revocation_url: str | None = None
    jwks_url: str | None = None
    subject_url: str | None = None


def _filled(template: str | None, values: Mapping[str, str]) -> str | None:
    return template.format_map(values) if template is not None else None


def _known(app: OAuthApp) -> _Addresses:
    """What is known without asking anybody: the spec's addresses, then the preset's.

    An ``issuerURL`` in the spec means another place than the preset knows, so the preset's addresses do not count then.
    """
    spec, preset = app.spec, PRESETS[app.spec.provider.name]
    if spec.issuer_url:
        return _Addresses(
            spec.issuer_url, spec.authorization_url, spec.token_url, spec.revocation_url, subject_url=spec.subject.url
        )
    values = rendered_parameters(spec.provider.name, spec.provider.parameters)
    return _Addresses(
        _filled(preset.issuer, values),
        spec.authorization_url or _filled(preset.authorization_url, values),
        spec.token_url or _filled(preset.token_url, values),
        spec.revocation_url or _filled(preset.revocation_url, values),
        _filled(preset.jwks_url, values),
        spec.subject.url or (preset.userinfo_url if subject_rule(app).source is SubjectSource.USER_INFO else None),
    )


def needs_discovery(app: OAuthApp) -> str | None:
    """The issuer whose discovery document ``resolve_app`` needs, or None when everything is known.

    Raises ProviderError (the app's) when the preset's parameters are wrong.
    """
    known = _known(app)
    complete = known.authorization_url and known.token_url and (known.subject_url or not subject_rule(app).asks)
    return None if complete else known.issuer


def _supported(metadata: ServerMetadata, preferred: ClientAuthentication) -> ClientAuthentication:
    """``preferred`` if the provider supports it, else the first that both sides know."""
    offered = {
        "client_secret_basic": ClientAuthentication.BASIC,
        "client_secret_post": ClientAuthentication.POST,
        "private_key_jwt": ClientAuthentication.PRIVATE_KEY_JWT,
    }
    supported = [ours for theirs, ours in offered.items() if theirs in metadata.client_authentications]
    return preferred if preferred in supported or not supported else supported[0]


def _client_authentication(app: OAuthApp, preset: ProviderPreset, metadata: ServerMetadata | None) -> ClientAuthentication:
    if app.spec.client_authentication:
        return app.spec.client_authentication
    if app.spec.client_secret_ref is None:
        return ClientAuthentication.NONE
    preferred = preset.client_authentication
    return _supported(metadata, preferred) if metadata else preferred


def subject_rule(app: OAuthApp) -> SubjectRule:
    """Where the provider says who authorized: the spec's place, else the preset's."""
    asked, preset = app.spec.subject, PRESETS[app.spec.provider.name].subject
    source = asked.source or preset.source
    usual = preset if source is preset.source else SUBJECTS[source]
    return replace(
        usual,
        claims=(asked.claim,) if asked.claim else usual.claims,
        matches=(asked.match,) if asked.match else usual.matches,
        must_match=asked.must_match_username,
        stated=asked.source is not None,
    )


def _subject_url(rule: SubjectRule, known: str | None, metadata: ServerMetadata | None) -> str | None:
    """Where to ask who authorized; None when nobody is asked."""
    if not rule.asks:
        return None
    discovered = {
        SubjectSource.USER_INFO: metadata.userinfo_url if metadata else None,
        SubjectSource.INTROSPECTION: metadata.introspection_url if metadata else None,
    }
    url = known or discovered[rule.source]
    if url is None:
        raise error(SUBJECT_ENDPOINT_MISSING, sent=False)
    return url


def _exchange(app: OAuthApp, token_url: str) -> Exchange | None:
    """The spec's token exchange over the preset's. The client's secret goes to no other origin than the token endpoint's."""
    asked, preset = app.spec.token_exchange, PRESETS[app.spec.provider.name].exchange
    if asked is None and preset is None:
        return None
    values = rendered_parameters(app.spec.provider.name, app.spec.provider.parameters)
    usual = replace(preset, token_url=preset.token_url.format_map(values)) if preset else Exchange(token_url="")
    stated = {name: value for name, value in (asked.model_dump().items() if asked else ()) if value}
    scopes = tuple(stated.pop("scopes", usual.scopes))
    found = replace(usual, **stated, scopes=scopes)
    return replace(found, authenticated=origin(found.token_url) == origin(token_url))


def resolve_app(app: OAuthApp, metadata: ServerMetadata | None = None) -> Endpoints:
    """The endpoints of an OAuthApp; ``metadata`` is what ``needs_discovery`` asked for.

    The spec overrides the preset, the preset overrides discovery; parameters are merged in the same order. Raises
    ProviderError (the app's): ``InvalidParameters``, or ``EndpointMissing`` (``SubjectEndpointMissing``) when an address is still
    unknown.
    """
    preset, known, rule = PRESETS[app.spec.provider.name], _known(app), subject_rule(app)
    authorization_url = known.authorization_url or (metadata and metadata.authorization_url)
    token_url = known.token_url or (metadata and metadata.token_url)
    if not authorization_url or not token_url:
        raise error(ENDPOINT_MISSING, sent=False)
    return Endpoints(
        authorization_url=authorization_url,
        token_url=token_url,
        issuer=known.issuer or (metadata.issuer if metadata else None),
        revocation_url=known.revocation_url or (metadata.revocation_url if metadata else None),
        jwks_url=known.jwks_url or (metadata.jwks_url if metadata else None),
        client_authentication=_client_authentication(app, preset, metadata),
        assertion_audience=known.issuer if app.spec.client_assertion_audience is AssertionAudience.ISSUER else None,
        scopes=tuple(app.spec.scopes) or preset.scopes,
        scope_separator=app.spec.scope_separator.text,
        request_format=app.spec.request_format,
        authorization_parameters={**preset.authorization_parameters, **app.spec.authorization_parameters},
        token_parameters={**preset.token_parameters, **app.spec.token_parameters},
        refresh_parameters={**preset.refresh_parameters, **app.spec.refresh_parameters},
        subject=rule,
        subject_url=_subject_url(rule, known.subject_url, metadata),
        exchange=_exchange(app, token_url),
        iss_required=bool(metadata and metadata.iss_in_answers),
    )


def endpoints_of(metadata: ServerMetadata, scopes: tuple[str, ...], *, confidential: bool) -> Endpoints:
    """The endpoints of a provider known by discovery alone (the portal's log-in); ``confidential`` means with a secret."""
    preferred = ClientAuthentication.BASIC
    return Endpoints(
        authorization_url=metadata.authorization_url,
        token_url=metadata.token_url,
        issuer=metadata.issuer,
        revocation_url=metadata.revocation_url,
        jwks_url=metadata.jwks_url,
        client_authentication=_supported(metadata, preferred) if confidential else ClientAuthentication.NONE,
        scopes=scopes,
        subject_url=metadata.userinfo_url,
        iss_required=metadata.iss_in_answers,
    )


def data_source_of(app: OAuthApp) -> str:
    """The key under ``userCredentials``: the spec's, else the preset's documented one, else the resource's name.

    Configurations read it as ``userCredentials.<key>``, so what no identifier may hold becomes ``_``: ``my-trino`` is ``my_trino``.
    """
    return app.spec.data_source or PRESETS[app.spec.provider.name].data_source or _identifier(app.metadata.name)


ABOUT_A_PERSON = frozenset(("openid", "profile", "email", "address", "phone", "offline_access", "refresh_token"))
"""Scopes that mean nothing for a client's own token."""


def account_env(app: OAuthApp) -> dict[str, str]:
    """The service account's environment variables, each with the key that fills it: the spec's, else what Cube documents."""
    account, preset = app.spec.service_account, PRESETS[app.spec.provider.name]
    if account is None or account.env:
        return dict(account.env) if account else {}
    if account.client_credentials:
        return {preset.account_token_variable: ACCESS_TOKEN} if preset.account_token_variable else {}
    return {name: name for name in preset.account_variables}


def account_endpoints(app: OAuthApp, endpoints: Endpoints) -> Endpoints:
    """The app's ``endpoints`` as the client of its service account uses them."""
    account = app.spec.service_account
    assert account is not None  # noqa: S101 - who has no service account has no client of it
    assert account.client_credentials is not None  # noqa: S101 - the same
    own = account.client_credentials
    usual = endpoints.client_authentication
    if usual is ClientAuthentication.NONE:  # the app's own client has no secret, this one has
        usual = PRESETS[app.spec.provider.name].client_authentication
    method = ClientAuthentication(own.client_authentication) if own.client_authentication else usual
    scopes = tuple(own.scopes) or tuple(scope for scope in endpoints.scopes if scope not in ABOUT_A_PERSON)
    return replace(endpoints, client_authentication=method, scopes=scopes)


def _identifier(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{readable}" if readable[0].isdigit() else readable

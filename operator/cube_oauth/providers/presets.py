"""What is known of each provider, as data: addresses, defaults, quirks. No code below the table knows a provider by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.authorize import SubjectRule
from cube_oauth.providers.errors import INVALID_PARAMETERS, ProviderError
from cube_oauth.resources.oauthapp import ClientAuthentication, Preset, SubjectSource, UsernameMatch

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENID_SCOPES = ("openid", "offline_access")
_PROFILE_SCOPES = ("openid", "profile", "offline_access")  # preferred_username comes with the scope profile
SUBJECTS: Mapping[SubjectSource, SubjectRule] = {
    rule.source: rule
    for rule in (
        SubjectRule(SubjectSource.NONE),
        SubjectRule(SubjectSource.ID_TOKEN, ("preferred_username", "email", "sub")),
        SubjectRule(SubjectSource.USER_INFO, ("preferred_username", "email", "sub")),
        SubjectRule(SubjectSource.ACCESS_TOKEN, ("sub",)),
        SubjectRule(SubjectSource.INTROSPECTION, ("username", "sub")),  # RFC 7662, section 2.2
        SubjectRule(SubjectSource.TOKEN_ANSWER, ("username",)),
    )
}
"""Where a name usually stands in each place."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
_ACCOUNT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Parameter:
    """One thing that a preset must be told (``spec.provider.parameters``), and how it goes into an address."""

    name: str
    advice: str
    """What to write, as the end of a sentence."""
    pattern: re.Pattern[str]
    required: bool = True
    prefix: str = ""
    """Stands before the value in an address, when there is a value."""
    hyphens: bool = False
    """Underscores become hyphens, as in host names."""

    def accepts(self, value: str | None) -> bool:
        """Whether this can be the value; nothing can, where it is not required."""
        return bool(self.pattern.fullmatch(value)) if value else not self.required

    def rendered(self, value: str | None) -> str:
        """The value as it stands in an address."""
        if value is None:
            return ""
        return self.prefix + (value.replace("_", "-") if self.hyphens else value)


@dataclass(frozen=True)
class Exchange:
    """How the provider's token becomes the warehouse's own (RFC 8693, section 2.1). In a preset, the URL is a template."""

    token_url: str
    subject_token: str = "AccessToken"  # noqa: S105 - which one, no token
    subject_token_type: str | None = None
    requested_token_type: str | None = None
    audience: str | None = None
    resource: str | None = None
    scopes: tuple[str, ...] = ()
    authenticated: bool = False
    """Whether the client proves itself there: only where it does for its other tokens."""


@dataclass(frozen=True)
class ProviderPreset:
    """One provider. Addresses are templates of the parameters; an issuer without addresses is asked for them (discovery)."""

    title: str
    parameters: tuple[Parameter, ...] = ()
    issuer: str | None = None
    authorization_url: str | None = None
    token_url: str | None = None
    revocation_url: str | None = None
    jwks_url: str | None = None
    client_authentication: ClientAuthentication = ClientAuthentication.BASIC
    """Used when the app has a client secret; without one it is ``none``."""
    scopes: tuple[str, ...] = _OPENID_SCOPES
    authorization_parameters: Mapping[str, str] = field(default_factory=dict)
    token_parameters: Mapping[str, str] = field(default_factory=dict)
    refresh_parameters: Mapping[str, str] = field(default_factory=dict)
    userinfo_url: str | None = None
    exchange: Exchange | None = None
    subject: SubjectRule = SUBJECTS[SubjectSource.ID_TOKEN]
    """Where it says who authorized, unless the OAuthApp says otherwise."""
    data_source: str | None = None
    """The key under ``userCredentials`` that Cube's documentation has for it."""
    account_variables: tuple[str, ...] = ()
    """What Cube's documentation has for a service account's secret: all of them are needed."""
    account_token_variable: str | None = None
    """What Cube reads a service account's access token from."""


PRESETS: Mapping[Preset, ProviderPreset] = {
    Preset.GENERIC: ProviderPreset("Any OAuth 2.0 or OpenID provider"),
    Preset.OIDC: ProviderPreset("Any OpenID provider, by its issuer"),
    Preset.OAUTH2: ProviderPreset("Any OAuth 2.0 provider, by its endpoints", scopes=()),
    Preset.TRINO: ProviderPreset(
        "The OpenID provider in front of Trino",
        account_variables=("CUBEJS_DB_USER", "CUBEJS_DB_PASS"),
        account_token_variable="CUBEJS_DB_PRESTO_AUTH_TOKEN",  # noqa: S106 - a variable's name
    ),
    Preset.DREMIO: ProviderPreset(
        "Dremio, by the OpenID provider that it trusts",
        parameters=(Parameter("host", "Dremio's host alone, such as dremio.example.com or login.dremio.cloud", _HOST),),
        exchange=Exchange(
            "https://{host}/oauth/token",
            subject_token_type="urn:ietf:params:oauth:token-type:jwt",  # noqa: S106 - a type
            scopes=("dremio.all",),
        ),
        account_variables=("CUBEJS_DB_USER", "CUBEJS_DB_PASS"),
    ),
    Preset.DATABRICKS: ProviderPreset(
        "Databricks",
        parameters=(Parameter("host", "the workspace's host alone, such as adb-123.4.azuredatabricks.net", _HOST),),
        authorization_url="https://{host}/oidc/v1/authorize",
        token_url="https://{host}/oidc/v1/token",  # noqa: S106 - an address
        scopes=("all-apis", "offline_access"),  # without offline_access there is no refresh token
        subject=SubjectRule(
            SubjectSource.ACCESS_TOKEN, ("sub",), (UsernameMatch.IGNORE_CASE,)
        ),  # a user's name is an email address
        data_source="databricks",
        account_variables=("CUBEJS_DB_DATABRICKS_TOKEN",),
        account_token_variable="CUBEJS_DB_DATABRICKS_TOKEN",  # noqa: S106 - a variable's name
    ),
    Preset.SNOWFLAKE: ProviderPreset(
        "Snowflake",
        parameters=(Parameter("account", "the account identifier alone, such as myorg-myaccount", _ACCOUNT, hyphens=True),),
        authorization_url="https://{account}.snowflakecomputing.com/oauth/authorize",
        token_url="https://{account}.snowflakecomputing.com/oauth/token-request",  # noqa: S106 - an address
        scopes=("refresh_token",),
        # a name that was not quoted when the user was created is stored in capitals
        subject=SubjectRule(
            SubjectSource.TOKEN_ANSWER, ("username",), (UsernameMatch.IGNORE_CASE, UsernameMatch.LOCAL_PART_IGNORE_CASE)
        ),
        data_source="snowflake",
        account_variables=("CUBEJS_DB_USER", "CUBEJS_DB_PASS"),
        account_token_variable="CUBEJS_DB_SNOWFLAKE_OAUTH_TOKEN",  # noqa: S106 - a variable's name
    ),
    Preset.GOOGLE: ProviderPreset(
        "Google (BigQuery)",
        issuer="https://accounts.google.com",
        authorization_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        revocation_url="https://oauth2.googleapis.com/revoke",
        jwks_url="https://www.googleapis.com/oauth2/v3/certs",
        userinfo_url="https://openidconnect.googleapis.com/v1/userinfo",
        client_authentication=ClientAuthentication.POST,
        scopes=("openid", "email", "https://www.googleapis.com/auth/bigquery"),  # offline_access is unknown to Google
        # the refresh token is only in the answer to a consent
        authorization_parameters={"access_type": "offline", "prompt": "consent"},
        subject=SubjectRule(SubjectSource.ID_TOKEN, ("email",)),
        account_variables=("CUBEJS_DB_BQ_CREDENTIALS",),
    ),
    Preset.ENTRA: ProviderPreset(
        "Microsoft Entra ID",
        parameters=(
            Parameter(
                "tenant",
                "the directory (tenant) ID, a GUID from the overview page of Entra; a domain name would not match the "
                "issuer in its tokens",
                _GUID,
            ),
        ),
        issuer="https://login.microsoftonline.com/{tenant}/v2.0",
        authorization_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
        token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",  # noqa: S106 - an address
        jwks_url="https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys",
        userinfo_url="https://graph.microsoft.com/oidc/userinfo",
        client_authentication=ClientAuthentication.POST,
        scopes=_PROFILE_SCOPES,
        subject=SubjectRule(SubjectSource.ID_TOKEN, ("preferred_username",)),
    ),
    Preset.OKTA: ProviderPreset(
        "Okta",
        parameters=(
            Parameter("host", "the organization's host alone, such as example.okta.com", _HOST),
            Parameter(
                "authorizationServer",
                "the authorization server's ID, such as default",
                _PATH_SEGMENT,
                required=False,
                prefix="/oauth2/",
            ),
        ),
        issuer="https://{host}{authorizationServer}",
        scopes=_PROFILE_SCOPES,
        subject=SubjectRule(SubjectSource.ID_TOKEN, ("preferred_username",)),
    ),
}
"""One row for each name in ``spec.provider.name``."""


def _refuse(sentence: str) -> ProviderError:
    return ProviderError(INVALID_PARAMETERS.kind, INVALID_PARAMETERS.word, sentence, sent=False)


def _check_names(name: Preset, parameters: Mapping[str, str]) -> None:
    known = [parameter.name for parameter in PRESETS[name].parameters]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        takes = f"it takes {' and '.join(known)}" if known else "it takes none"
        raise _refuse(f"spec.provider.parameters.{unknown[0]} means nothing to the preset {name.value}: {takes}.")


def rendered_parameters(name: Preset, parameters: Mapping[str, str]) -> dict[str, str]:
    """``spec.provider.parameters`` as they stand in the preset's addresses.

    Raises ProviderError (the app's, ``InvalidParameters``) when one is missing, unknown or no such thing; the sentence says
    what to write.
    """
    _check_names(name, parameters)
    values = {}
    for parameter in PRESETS[name].parameters:
        value = parameters.get(parameter.name)
        if value is None and parameter.required:
            raise _refuse(f"The preset {name.value} needs spec.provider.parameters.{parameter.name}: write {parameter.advice}.")
        if value is not None and not parameter.pattern.fullmatch(value):
            raise _refuse(f"spec.provider.parameters.{parameter.name} must be {parameter.advice}.")
        values[parameter.name] = parameter.rendered(value)
    return values

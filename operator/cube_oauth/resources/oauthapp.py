"""OAuthApp: an OAuth client at a data source's provider, as the documented form has it, and more."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from cube_oauth.resources.meta import Condition, Model, ObjectMeta
from cube_oauth.resources.schema import Rule, rules


class Preset(StrEnum):
    """The providers whose endpoints and quirks are known (``cube_oauth/providers/presets.py`` has them)."""

    GENERIC = "generic"
    OIDC = "oidc"
    OAUTH2 = "oauth2"
    DATABRICKS = "databricks"
    SNOWFLAKE = "snowflake"
    GOOGLE = "google"
    ENTRA = "entra"
    OKTA = "okta"
    TRINO = "trino"
    DREMIO = "dremio"


class ClientAuthentication(StrEnum):
    """How the client proves itself at the token endpoint (OpenID Connect Core, section 9)."""

    BASIC = "basic"
    POST = "post"
    NONE = "none"
    PRIVATE_KEY_JWT = "private_key_jwt"


class ScopeSeparator(StrEnum):
    """What stands between two scopes."""

    SPACE = "Space"
    COMMA = "Comma"

    @property
    def text(self) -> str:
        """The character."""
        return "," if self is ScopeSeparator.COMMA else " "


class RequestFormat(StrEnum):
    """How the body of a request to the token endpoint is written."""

    FORM = "Form"
    JSON = "JSON"


class AssertionAudience(StrEnum):
    """Whom the signed assertion of ``private_key_jwt`` is for."""

    TOKEN_URL = "TokenURL"  # noqa: S105 - which address
    ISSUER = "Issuer"


class SubjectSource(StrEnum):
    """Where a provider says who authorized."""

    NONE = "None"
    ID_TOKEN = "IDToken"  # noqa: S105 - a place, no token
    ACCESS_TOKEN = "AccessToken"  # noqa: S105 - the same
    USER_INFO = "UserInfo"
    INTROSPECTION = "Introspection"
    TOKEN_ANSWER = "TokenAnswer"  # noqa: S105 - the same


class UsernameMatch(StrEnum):
    """When the provider's name for a person is the portal's username."""

    EXACT = "Exact"
    IGNORE_CASE = "IgnoreCase"
    LOCAL_PART = "LocalPart"
    LOCAL_PART_IGNORE_CASE = "LocalPartIgnoreCase"


_RESERVED = [
    *("client_id", "client_secret", "code", "code_challenge", "code_challenge_method", "code_verifier", "grant_type"),
    *("nonce", "redirect_uri", "refresh_token", "response_type", "state"),
]
"""What the protocol sets itself (RFC 6749, RFC 7636, OpenID Connect Core)."""

Url = Annotated[
    str,
    Field(max_length=2048),
    rules(
        Rule(
            "self.startsWith('https://') && isURL(self)",
            "must be an absolute https:// URL, because credentials travel there; write https://host/path",
        )
    ),
]
Parameters = Annotated[
    dict[str, Annotated[str, Field(max_length=2048)]],
    Field(max_length=32),
    rules(
        Rule(
            f"self.all(name, !(name in {_RESERVED}))",
            "must not contain a parameter that the protocol sets itself (client_id, redirect_uri, state, code …); remove it",
        )
    ),
]


class Provider(Model):
    """Which provider this is."""

    name: Annotated[Preset, Field(description="A preset, or generic for any other OAuth 2.0 or OpenID provider.")] = Preset.GENERIC
    parameters: Annotated[
        dict[str, Annotated[str, Field(max_length=512)]],
        Field(
            max_length=16,
            description="What the preset needs to know: host (databricks, dremio, okta), account (snowflake), tenant (entra).",
        ),
    ] = {}


class SecretKeyReference(Model):
    """A key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="The Secret's name.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="The key in its data.")] = "clientSecret"


class Refresh(Model):
    """When and how fast tokens are refreshed."""

    percent_of_lifetime: Annotated[
        int, Field(ge=10, le=95, description="Refresh after this share of an access token's lifetime, in percent.")
    ] = 70
    requests_per_second: Annotated[
        int, Field(ge=1, le=1000, description="The budget of requests to this provider's token endpoint.")
    ] = 20
    only_while_used_seconds: Annotated[
        int | None,
        Field(
            ge=600,
            le=31536000,
            description="Refresh only while a query asked for the credential within this many seconds (and within the access "
            "token's lifetime); otherwise just often enough to keep the sign-in alive. By default always.",
        ),
    ] = None


class Subject(Model):
    """Who authorized, as the provider says it, and whether it must be the portal's user."""

    source: Annotated[
        SubjectSource | None,
        Field(
            description="Where the provider says who authorized: a claim of the ID token, of the access token (when it is a JWT), "
            "of what the userinfo or introspection endpoint answers, or a field of the token endpoint's answer. None: nowhere. By "
            "default the preset's place; then a provider that says nothing there is accepted, and condition Authorized says "
            "SubjectUnknown."
        ),
    ] = None
    claim: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=253,
            description="The claim (or field) that holds the name. By default the preset's; for an ID token and userinfo any of "
            "preferred_username, email and sub may be the username. An email that the provider calls unverified does not count.",
        ),
    ] = None
    match: Annotated[
        UsernameMatch | None,
        Field(
            description="When the provider's name is the portal's username: Exact, IgnoreCase (of ASCII letters), LocalPart (the "
            "part of the username before @), LocalPartIgnoreCase. By default the preset's, otherwise Exact."
        ),
    ] = None
    must_match_username: Annotated[
        bool, Field(description="Refuse a grant whose subject is not the username of the UserCredential.")
    ] = True
    url: Annotated[
        Url | None,
        Field(description="The userinfo or introspection endpoint. By default the preset's, or what the issuer's discovery says."),
    ] = None


class TokenExchange(Model):
    """The provider's token becomes the warehouse's own (RFC 8693)."""

    token_url: Annotated[
        Url | None,
        Field(
            description="Where the token is exchanged. By default the preset's. The client's secret is sent along only where "
            "spec.tokenURL has the same origin."
        ),
    ] = None
    subject_token: Annotated[
        Literal["AccessToken", "IDToken"] | None,
        Field(description="Which of the provider's tokens is exchanged. By default the access token."),
    ] = None
    subject_token_type: Annotated[
        str | None,
        Field(
            max_length=253,
            description="What kind of token that is (RFC 8693, section 3), a URI. By default what subjectToken says.",
        ),
    ] = None
    requested_token_type: Annotated[
        str | None, Field(max_length=253, description="What kind of token is wanted, a URI. By default the warehouse decides.")
    ] = None
    audience: Annotated[str | None, Field(max_length=2048, description="For whom: the warehouse's logical name.")] = None
    resource: Annotated[str | None, Field(max_length=2048, description="For whom: the warehouse's address (RFC 8707).")] = None
    scopes: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(max_length=64, description="The scopes to ask the warehouse for. By default the preset's."),
    ] = []


class AccountReference(Model):
    """A Secret that somebody keeps, here or in another namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="The Secret's name.")]
    namespace: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=63,
            description="Its namespace, by default this one. A Secret of another namespace must consent by the annotation "
            "cubeoauth.dev/service-account-namespaces, which lists those that may use it.",
        ),
    ] = None


@rules(
    Rule(
        "has(self.clientID) == has(self.clientSecretRef)",
        "clientID and clientSecretRef belong together: write both for a client of its own, or neither for the app's",
    ),
    Rule(
        "!has(self.clientAuthentication) || has(self.clientID)",
        "clientAuthentication is about a client of its own: write clientID and clientSecretRef, too, or leave it out",
    ),
)
class AccountClient(Model):
    """The client whose own token is the service account (RFC 6749, section 4.4), at the app's token endpoint."""

    client_id: Annotated[
        str | None, Field(min_length=1, max_length=1024, description="A client of its own. By default the app's.")
    ] = None
    client_secret_ref: Annotated[
        SecretKeyReference | None,
        Field(
            description="Its secret (or private key). The Secret must consent by the label cubeoauth.dev/oauth-client: <this app>."
        ),
    ] = None
    client_authentication: Annotated[
        Literal["basic", "post", "private_key_jwt"] | None,
        Field(description="How it authenticates at the token endpoint. By default as the app does."),
    ] = None
    scopes: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(
            max_length=64,
            description="The scopes to ask for. By default the app's without those that are about a person (openid, profile, "
            "email, address, phone, offline_access, refresh_token).",
        ),
    ] = []
    parameters: Annotated[
        Parameters, Field(description="Extra parameters of the token request, such as resource or audience.")
    ] = {}


_OURS = "name == 'NODE_OPTIONS' || name.startsWith('CUBE_OAUTH_')"


@rules(
    Rule(
        "has(self.secretRef) != has(self.clientCredentials)",
        "write either secretRef (a Secret that somebody keeps) or clientCredentials (a token that is fetched and refreshed)",
    ),
    Rule(
        "!has(self.clientCredentials) || !has(self.env) || self.env.all(name, self.env[name] == 'accessToken')",
        "with clientCredentials there is one key only: write accessToken for each variable",
    ),
)
class ServiceAccount(Model):
    """The least-privilege account that serves whoever has no credential, and Cube's background work."""

    secret_ref: Annotated[AccountReference | None, Field(description="The Secret that holds it.")] = None
    client_credentials: Annotated[
        AccountClient | None, Field(description="A client's own token, which is fetched and refreshed like a user's.")
    ] = None
    env: Annotated[
        dict[str, Annotated[str, Field(min_length=1, max_length=253)]],
        Field(
            min_length=1,
            max_length=32,
            description="Environment variables of the Cube container, each with the key of the Secret that fills it (with "
            "clientCredentials: accessToken). By default those that Cube documents for the preset's data source, each from the "
            "key of its own name.",
        ),
        rules(
            Rule(
                "self.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
                "each key must be the name of an environment variable, such as CUBEJS_DB_DATABRICKS_TOKEN",
            ),
            Rule(
                f"!self.exists(name, {_OURS})",
                "NODE_OPTIONS and names that begin with CUBE_OAUTH_ are injection's own; choose another variable",
            ),
        ),
    ] = {}


class Access(Model):
    """Who may connect. Empty means everybody who can log in to the portal."""

    users: Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=1024, description="Usernames.")] = []
    groups: Annotated[
        list[Annotated[str, Field(max_length=253)]],
        Field(max_length=256, description="Groups from the portal's log-in."),
    ] = []


class Resolvers(Model):
    """Whose pods may resolve this app's credentials."""

    service_accounts: Annotated[
        list[Annotated[str, Field(max_length=253)]],
        Field(max_length=64, description="Service accounts of this namespace. Empty means all of them."),
    ] = []


class OAuthAppSpec(Model):
    """What the administrator registered at the provider."""

    display_name: Annotated[str, Field(max_length=80, description="The name people see in the portal.")] = ""
    data_source: Annotated[
        str | None,
        Field(
            max_length=63,
            description="The key under securityContext.cubeCloud.userCredentials. "
            "By default the preset's documented key (databricks, snowflake), otherwise the resource's name "
            "(with _ for what an identifier may not hold).",
        ),
        rules(
            Rule(
                "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                "must be an identifier (letters, digits and _, not starting with a digit), because configurations "
                "read it as userCredentials.<dataSource>; write for example my_warehouse",
            )
        ),
    ] = None
    provider: Annotated[Provider, Field(description="A preset with its parameters; generic by default.")] = Provider()
    issuer_url: Annotated[
        Url | None,
        Field(description="The provider's issuer: endpoints are discovered there (OpenID discovery, RFC 8414)."),
    ] = None
    authorization_url: Annotated[Url | None, Field(description="The authorization endpoint (RFC 6749, section 3.1).")] = None
    token_url: Annotated[Url | None, Field(description="The token endpoint (RFC 6749, section 3.2).")] = None
    revocation_url: Annotated[Url | None, Field(description="The revocation endpoint (RFC 7009).")] = None
    client_id: Annotated[
        str,
        Field(max_length=1024, description="The client ID that the provider gave."),
        rules(Rule("self != ''", "must not be empty; copy the client ID that the provider showed when you registered")),
    ]
    client_secret_ref: Annotated[
        SecretKeyReference | None,
        Field(description="The client secret. The Secret must consent by the label cubeoauth.dev/oauth-client: <this app>."),
    ] = None
    client_authentication: Annotated[
        ClientAuthentication | None,
        Field(
            description="How the client authenticates at the token endpoint. "
            "By default the preset's way, or none when there is no clientSecretRef."
        ),
    ] = None
    client_assertion_audience: Annotated[
        AssertionAudience,
        Field(
            description="Whom the signed assertion of private_key_jwt is for: TokenURL, as OpenID Connect has it, or Issuer "
            "(spec.issuerURL), which some providers want."
        ),
    ] = AssertionAudience.TOKEN_URL
    scopes: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(max_length=64, description="The scopes to ask for. By default the preset's."),
        rules(
            Rule(
                "self.all(scope, scope.matches('^[!#-\\\\[\\\\]-~]+$'))",
                "each item must be one scope without spaces (RFC 6749, section 3.3); write two scopes as two list items",
            )
        ),
    ] = []
    scope_separator: Annotated[
        ScopeSeparator,
        Field(description="What stands between scopes: Space, as the RFC has it, or Comma."),
    ] = ScopeSeparator.SPACE
    request_format: Annotated[
        RequestFormat,
        Field(description="The body of requests to the token endpoint: Form, as the RFC has it, or JSON."),
    ] = RequestFormat.FORM
    pkce: Annotated[bool, Field(description="Use PKCE with S256 (RFC 7636).")] = True
    authorization_parameters: Annotated[
        Parameters, Field(description="Extra parameters of the authorization request, such as resource or prompt.")
    ] = {}
    token_parameters: Annotated[Parameters, Field(description="Extra parameters when a code is exchanged.")] = {}
    refresh_parameters: Annotated[Parameters, Field(description="Extra parameters when a token is refreshed.")] = {}
    refresh: Annotated[Refresh, Field(description="When and how fast tokens are refreshed.")] = Refresh()
    revoke_replaced: Annotated[
        Literal["IfAnother", "Always", "Never"],
        Field(
            description="Whether a sign-in that a newer one replaces is revoked at the provider: only if the provider surely keeps "
            "the two apart (another account, session or client), because many providers end both; or always; or never.",
        ),
    ] = "IfAnother"
    default_token_lifetime_seconds: Annotated[
        int, Field(ge=30, le=31536000, description="An access token's lifetime when the provider does not say one.")
    ] = 3600
    subject: Annotated[Subject, Field(description="Where the provider says who authorized.")] = Subject()
    token_exchange: Annotated[
        TokenExchange | None,
        Field(description="Exchange the provider's token at the warehouse for the warehouse's own. The preset dremio always does."),
    ] = None
    service_account: Annotated[ServiceAccount | None, Field(description="What serves those who have no credential.")] = None
    fallback: Annotated[
        Literal["ServiceAccount", "Deny"],
        Field(description="What a person without a credential gets: the service account, or a sentence with the link."),
    ] = "ServiceAccount"
    access: Annotated[Access, Field(description="Who may connect.")] = Access()
    resolvers: Annotated[Resolvers, Field(description="Whose pods may resolve credentials of this app.")] = Resolvers()


class CredentialCounts(Model):
    """How many UserCredentials of this app are in each state."""

    active: Annotated[int, Field(description="Connected.")] = 0
    pending: Annotated[int, Field(description="Not authorized yet.")] = 0
    expired: Annotated[int, Field(description="To be authorized again.")] = 0
    revoked: Annotated[int, Field(description="Suspended, or revoked at the provider.")] = 0


class AccountDemand(Model):
    """What the broker heard of the service account; the only part of an OAuthApp's status that it writes."""

    rejected_revision: Annotated[
        int | None,
        Field(description="The revision of its token that a warehouse refused before its time; another one is fetched once."),
    ] = None


class OAuthAppStatus(Model):
    """What the controller found out."""

    observed_generation: Annotated[int | None, Field(description="The generation this status was decided for.")] = None
    redirect_uri: Annotated[
        str | None, Field(description="Register this at the provider; one per app (RFC 9700, section 4.4).")
    ] = None
    data_source: Annotated[str | None, Field(description="The key under userCredentials, with defaults applied.")] = None
    issuer: Annotated[str | None, Field(description="The issuer that answers must name (RFC 9207), when known.")] = None
    authorization_url: Annotated[str | None, Field(description="The authorization endpoint in use.")] = None
    token_url: Annotated[str | None, Field(description="The token endpoint in use.")] = None
    revocation_url: Annotated[str | None, Field(description="The revocation endpoint in use, when there is one.")] = None
    subject_url: Annotated[str | None, Field(description="The endpoint that is asked who authorized, when one is.")] = None
    token_exchange_url: Annotated[str | None, Field(description="Where tokens are exchanged, when they are.")] = None
    issuer_in_answers: Annotated[
        bool | None, Field(description="Whether an answer without iss is refused, since the provider promises it (RFC 9207).")
    ] = None
    scopes: Annotated[list[str] | None, Field(description="The scopes asked for, with defaults applied.")] = None
    authorization_parameters: Annotated[
        dict[str, str] | None,
        Field(description="Extra parameters of the authorization request, with defaults applied."),
    ] = None
    service_account_secret: Annotated[
        str | None, Field(description="The Secret beside Cube that holds the service account, for those who read it by envFrom.")
    ] = None
    credentials: Annotated[CredentialCounts | None, Field(description="Counts by state.")] = None
    demand: Annotated[AccountDemand | None, Field(description="What the broker heard of the service account.")] = None
    conditions: Annotated[tuple[Condition, ...], Field(description="Ready says whether people can connect.")] = ()


@rules(
    Rule(
        "size(self.metadata.name) <= 63",
        "metadata.name must have 63 characters or fewer, because it becomes a label; choose a shorter name",
    )
)
class OAuthApp(Model):
    """An OAuth client at a data source's provider; people connect to it in the portal."""

    metadata: ObjectMeta
    spec: Annotated[
        OAuthAppSpec,
        Field(description="What the administrator registered at the provider."),
        rules(
            Rule(
                "!(self.provider.name in ['generic', 'oidc', 'oauth2', 'trino', 'dremio']) || has(self.issuerURL) || "
                "(has(self.authorizationURL) && has(self.tokenURL))",
                "spec must say where to authorize: set spec.issuerURL (endpoints are discovered there), "
                "or both spec.authorizationURL and spec.tokenURL, or choose a preset in spec.provider.name",
            ),
            Rule(
                "self.provider.name != 'oidc' || has(self.issuerURL)",
                "spec.issuerURL is needed for the preset oidc: write the issuer whose discovery document names the endpoints, "
                "or choose the preset oauth2 and set spec.authorizationURL and spec.tokenURL",
            ),
            Rule(
                "self.clientAssertionAudience != 'Issuer' || has(self.issuerURL)",
                "spec.issuerURL is needed for clientAssertionAudience: Issuer; write the issuer that the assertion is for, "
                "or clientAssertionAudience: TokenURL",
            ),
            Rule(
                "self.provider.name != 'oauth2' || (has(self.authorizationURL) && has(self.tokenURL))",
                "spec.authorizationURL and spec.tokenURL are needed for the preset oauth2; "
                "or choose the preset oidc and set spec.issuerURL, where both are discovered",
            ),
            Rule(
                "self.provider.name in ['generic', 'google', 'oidc', 'oauth2', 'trino'] || "
                "(has(self.provider.parameters) && size(self.provider.parameters) > 0)",
                "spec.provider.parameters must hold what the preset needs: "
                "host for databricks, dremio and okta, account for snowflake, tenant for entra",
            ),
            Rule(
                "!has(self.tokenExchange) || has(self.tokenExchange.tokenURL) || self.provider.name == 'dremio'",
                "spec.tokenExchange.tokenURL is needed: write the warehouse's token endpoint, which gives its own token for the "
                "provider's (RFC 8693)",
            ),
            Rule(
                "!has(self.serviceAccount) || has(self.serviceAccount.env) || "
                "self.provider.name in ['databricks', 'snowflake', 'trino', 'dremio'] || "
                "(self.provider.name == 'google' && has(self.serviceAccount.secretRef))",
                "spec.serviceAccount.env is needed for this preset: write the variables that your configuration of Cube reads, for "
                "example CUBEJS_DB_PASS: password",
            ),
            Rule(
                "!has(self.serviceAccount) || !has(self.serviceAccount.clientCredentials) || "
                "has(self.serviceAccount.clientCredentials.clientID) || has(self.clientSecretRef)",
                "spec.serviceAccount.clientCredentials needs a client with a secret (RFC 6749, section 4.4): write its clientID "
                "and clientSecretRef, or give the app a spec.clientSecretRef",
            ),
            Rule(
                "!has(self.serviceAccount) || !has(self.serviceAccount.clientCredentials) || "
                "!(has(self.tokenExchange) || self.provider.name == 'dremio')",
                "spec.serviceAccount.clientCredentials cannot be exchanged for the warehouse's own token; write "
                "spec.serviceAccount.secretRef instead",
            ),
            Rule(
                "!has(self.clientAuthentication) || self.clientAuthentication == 'none' || has(self.clientSecretRef)",
                "spec.clientSecretRef is needed for this spec.clientAuthentication; name the Secret that holds the client "
                "secret (or the private key), or write clientAuthentication: none for a public client",
            ),
        ),
    ]
    status: Annotated[OAuthAppStatus, Field(description="What the controller found out.")] = OAuthAppStatus()

    @property
    def title(self) -> str:
        """The name people see."""
        return self.spec.display_name or self.metadata.name

"""Whether an authorization may become a person's credential. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cube_oauth.lifecycle.decide import origin
from cube_oauth.resources.oauthapp import SubjectSource, UsernameMatch
from cube_oauth.resources.usercredential import username_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import Grant
    from cube_oauth.resources.usercredential import UserCredential

LONGEST_AGE = timedelta(minutes=10)
"""An authorization code lives at most this long (RFC 6749, section 4.1.2)."""


class Refused(StrEnum):
    """Why an authorization is refused; the sentences are in ``SENTENCES``."""

    TOO_LATE = "GrantTooLate"
    APP_NOT_FOUND = "AppNotFound"
    ANOTHER_PERSON = "AnotherPerson"
    DUPLICATE = "Duplicate"
    NOT_PERMITTED = "AccessNotPermitted"
    APP_CHANGED = "AppChanged"
    SUBJECT_MISSING = "SubjectMissing"
    SUBJECT_DIFFERS = "SubjectDiffers"
    IDENTITY = "IdentityRefused"
    INCOMPLETE = "AuthorizationIncomplete"


CODE_REFUSED = "InvalidGrant"
"""The provider's word for an authorization code that does not count (RFC 6749, section 5.2)."""
DONE = "Authorized"
SUBJECT_UNKNOWN = "SubjectUnknown"
_AGAIN = "Connect again."
SENTENCES: dict[str, str] = {
    Refused.TOO_LATE: f"The authorization was not completed within ten minutes. {_AGAIN}",
    Refused.APP_NOT_FOUND: f"The OAuthApp is gone, or was created anew meanwhile. {_AGAIN}",
    Refused.ANOTHER_PERSON: "The authorization was made for another person or OAuthApp than this UserCredential names. " + _AGAIN,
    Refused.DUPLICATE: "Another, older UserCredential names the same person and OAuthApp. Delete this one.",
    Refused.NOT_PERMITTED: "The OAuthApp's spec.access does not permit this person. Ask its administrator.",
    Refused.APP_CHANGED: f"The OAuthApp's client ID or token endpoint changed while the person authorized. {_AGAIN}",
    Refused.SUBJECT_MISSING: "The provider did not say who authorized, where spec.subject of the OAuthApp expects it; the token "
    "was revoked. The OAuthApp's administrator corrects spec.subject.source or spec.subject.claim, or asks for the scope openid.",
    Refused.SUBJECT_DIFFERS: "The person at the provider is another one than the person in the portal; the token was revoked. "
    "Log out at the provider, and connect again with your own account. If it was your own, the OAuthApp's administrator states in "
    "spec.subject which claim is the username (claim), and how it is compared (match).",
    CODE_REFUSED: f"The provider did not accept the authorization code. {_AGAIN}",
    Refused.IDENTITY: "The provider's ID token, or what it says when it is asked about the token, does not belong to this "
    f"authorization; the token was revoked. {_AGAIN}",
    Refused.INCOMPLETE: "The provider gave a token, but what had to be asked after that (who authorized, or the warehouse's own "
    f"token) was not answered within ten minutes; the token was revoked. {_AGAIN}",
}
"""Why not."""

CONNECTED: dict[str, str] = {
    DONE: "The person authorized.",
    SUBJECT_UNKNOWN: "The person authorized. The provider did not say who logged in there, so it was not compared with "
    "spec.username: state in spec.subject of the OAuthApp where the provider says it (or source: None, if nowhere).",
}
"""How it went well."""


def refused(
    grant: Grant, credential: UserCredential, app: OAuthApp | None, now: datetime, *, duplicate: bool = False
) -> Refused | None:
    """Why this grant is not exchanged, or None. The credential is the one that the grant names, by UID."""
    if now - grant.issued_at > LONGEST_AGE:
        return Refused.TOO_LATE
    if app is None or app.metadata.uid != grant.app.uid:
        return Refused.APP_NOT_FOUND
    checks = (
        (Refused.ANOTHER_PERSON, _another(grant, credential)),
        (Refused.DUPLICATE, duplicate),
        (Refused.NOT_PERMITTED, not permitted(app, grant.username, grant.groups)),
        (Refused.APP_CHANGED, grant.client_id != app.spec.client_id or origin(grant.token_url) != origin(_token_url(app))),
    )
    return next((reason for reason, failed in checks if failed), None)


def _token_url(app: OAuthApp) -> str:
    return app.status.token_url or app.spec.token_url or ""


def permitted(app: OAuthApp, username: str, groups: tuple[str, ...]) -> bool:
    """Whether ``spec.access`` lets this person connect; with neither users nor groups, everybody may."""
    access = app.spec.access
    if not access.users and not access.groups:
        return True
    return username in access.users or not set(groups).isdisjoint(access.groups)


@dataclass(frozen=True)
class SubjectRule:
    """Where a provider says who authorized, and when that is the portal's user."""

    source: SubjectSource
    claims: tuple[str, ...] = ()
    """Any of them may hold the name; the first that does is the subject."""
    matches: tuple[UsernameMatch, ...] = (UsernameMatch.EXACT,)
    """Any of them suffices."""
    must_match: bool = True
    stated: bool = False
    """Whether the OAuthApp states the source: then a provider that says nothing is refused."""

    @property
    def asks(self) -> bool:
        """Whether the provider has to be asked once more."""
        return self.source in (SubjectSource.USER_INFO, SubjectSource.INTROSPECTION)


@dataclass(frozen=True)
class Identified:
    """What came of comparing: the warehouse's name for the person, and why they are refused, if they are."""

    subject: str | None = None
    refused: Refused | None = None
    word: str = DONE


_COMPARISONS: dict[UsernameMatch, Callable[[str, str], bool]] = {
    UsernameMatch.EXACT: lambda name, username: name == username,
    UsernameMatch.IGNORE_CASE: lambda name, username: _folded(name) == _folded(username),
    UsernameMatch.LOCAL_PART: lambda name, username: name == _local_part(username),
    UsernameMatch.LOCAL_PART_IGNORE_CASE: lambda name, username: _folded(name) == _folded(_local_part(username)),
}


def _folded(name: str) -> bytes:
    """Without the case of ASCII letters; of others it is kept, since folding them makes different people one."""
    return name.encode(errors="surrogatepass").lower()


def _local_part(username: str) -> str:
    return username.partition("@")[0]


def _names(rule: SubjectRule, said: Mapping[str, Any]) -> list[str]:
    """The names in the claims. An email that the provider itself calls unverified is nobody's name."""
    unverified = str(said.get("email_verified")).lower() == "false"  # some send text
    claims = (claim for claim in rule.claims if not (claim == "email" and unverified))
    return [name for name in (said.get(claim) for claim in claims) if isinstance(name, str) and name]


def identified(rule: SubjectRule, username: str, said: Mapping[str, Any] | None) -> Identified:
    """Whether who authorized, as the provider says it, may be this person. ``said`` None: it says nothing there."""
    if rule.source is SubjectSource.NONE:
        return Identified()
    names = _names(rule, said or {})
    same = next((name for name in names if any(_COMPARISONS[match](name, username) for match in rule.matches)), None)
    if same or (names and not rule.must_match):
        return Identified(same or names[0])
    if names:
        return Identified(None, Refused.SUBJECT_DIFFERS)
    if rule.must_match and (rule.stated or said is not None):
        return Identified(None, Refused.SUBJECT_MISSING)
    return Identified(word=SUBJECT_UNKNOWN)


def _another(grant: Grant, credential: UserCredential) -> bool:
    named = (grant.username, grant.app.name)
    return named != (credential.spec.username, credential.spec.oauth_app_ref.name) or username_problem(grant.username) is not None

"""Whether an authorization may become a person's credential. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.decide import origin
from cube_oauth.resources.usercredential import username_problem

if TYPE_CHECKING:
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


_AGAIN = "Connect again."
SENTENCES: dict[str, str] = {
    Refused.TOO_LATE: f"The authorization was not completed within ten minutes. {_AGAIN}",
    Refused.APP_NOT_FOUND: f"The OAuthApp is gone, or was created anew meanwhile. {_AGAIN}",
    Refused.ANOTHER_PERSON: "The authorization was made for another person or OAuthApp than this UserCredential names. " + _AGAIN,
    Refused.DUPLICATE: "Another, older UserCredential names the same person and OAuthApp. Delete this one.",
    Refused.NOT_PERMITTED: "The OAuthApp's spec.access does not permit this person. Ask its administrator.",
    Refused.APP_CHANGED: f"The OAuthApp's client ID or token endpoint changed while the person authorized. {_AGAIN}",
    Refused.SUBJECT_MISSING: "The provider did not say who authorized, where spec.subject of the OAuthApp expects it; the token "
    "was revoked. The OAuthApp's administrator corrects spec.subject, or asks for the scope openid.",
    Refused.SUBJECT_DIFFERS: "The person at the provider is another one than the person in the portal; the token was revoked. "
    "Log out at the provider, and connect again with your own account.",
    Refused.IDENTITY: f"The provider's ID token does not belong to this authorization; the token was revoked. {_AGAIN}",
}


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


def subject_refused(app: OAuthApp, username: str, subject: str | None) -> Refused | None:
    """Whether who authorized, as the provider says it, may be this person."""
    if app.spec.subject.source == "None" or not app.spec.subject.must_match_username:
        return None
    if subject is None:
        return Refused.SUBJECT_MISSING
    return None if subject == username else Refused.SUBJECT_DIFFERS


def _another(grant: Grant, credential: UserCredential) -> bool:
    named = (grant.username, grant.app.name)
    return named != (credential.spec.username, credential.spec.oauth_app_ref.name) or username_problem(grant.username) is not None

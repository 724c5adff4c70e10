"""The stable reasons of a credential: the same word in condition, event, log, metric and in the answer to Cube."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a credential is as it is. The sentences are in ``SENTENCES``."""

    ACTIVE = "Active"
    NOT_CONNECTED = "NotConnected"
    EXPIRED = "Expired"
    IDLE = "Idle"
    REFRESH_DELAYED = "RefreshDelayed"
    SUSPENDED = "Suspended"
    SUSPENSION_ENDED = "SuspensionEnded"
    REVOKED = "Revoked"
    DUPLICATE = "Duplicate"
    INVALID_USERNAME = "InvalidUsername"
    APP_NOT_FOUND = "AppNotFound"
    APP_REPLACED = "AppReplaced"
    APP_NOT_READY = "AppNotReady"
    CLIENT_CHANGED = "ClientChanged"
    INTERACTION_REQUIRED = "InteractionRequired"
    ACCESS_DENIED = "AccessDenied"
    SUBJECT_CHANGED = "SubjectChanged"
    NO_REFRESH_TOKEN = "NoRefreshToken"  # noqa: S105 - a reason, no token
    UNDECIPHERABLE = "UndecipherableToken"


SENTENCES: dict[str, str] = {
    Reason.ACTIVE: "Connected; the access token is renewed before it ends, as long as the OAuthApp is Ready and its provider "
    "answers.",
    Reason.NOT_CONNECTED: "Not connected yet: the person opens status.authorizeURL and authorizes.",
    Reason.EXPIRED: "The sign-in has ended: the person authorizes again at status.authorizeURL.",
    Reason.IDLE: "Not renewed, because nobody has used it for a while (spec.refresh.onlyWhileUsedSeconds of the OAuthApp). The "
    "next query renews it; nobody has to do anything.",
    Reason.REFRESH_DELAYED: "The access token ended before it could be renewed; the conditions and events of the OAuthApp {app} "
    "say what is in the way. It is tried again; the person has to do nothing.",
    Reason.SUSPENDED: "Withheld while spec.suspend is true; the tokens are revoked. Afterwards the person authorizes again.",
    Reason.SUSPENSION_ENDED: "The tokens were revoked by spec.suspend, which is over: the person authorizes again at "
    "status.authorizeURL.",
    Reason.REVOKED: "The provider says that this sign-in is over: the person authorizes again at status.authorizeURL.",
    Reason.DUPLICATE: "Another, older UserCredential names the same person and OAuthApp; delete this one.",
    Reason.INVALID_USERNAME: "spec.username cannot name a person: {detail}.",
    Reason.APP_NOT_FOUND: "There is no OAuthApp of this name in this namespace: create it, or correct spec.oauthAppRef.",
    Reason.APP_REPLACED: "The tokens of the former OAuthApp of this name were revoked when it was deleted: the person authorizes "
    "again at status.authorizeURL.",
    Reason.APP_NOT_READY: "The OAuthApp {app} cannot be used now; its Ready condition says why (kubectl describe oapp {app}).",
    Reason.CLIENT_CHANGED: "The OAuthApp's client ID or token endpoint changed, and tokens are sent to no other place than they "
    "came from: the person authorizes again at status.authorizeURL.",
    Reason.INTERACTION_REQUIRED: "The provider wants the person to log in or to consent again: the person authorizes again at "
    "status.authorizeURL. If only a policy was wrong, the sign-in goes on by itself once that is corrected: it is tried again, "
    "ever less often.",
    Reason.ACCESS_DENIED: "The provider denied access to this person: its administrator permits the application for them. Then the "
    "sign-in goes on by itself (it is tried again, ever less often), or at once when the person authorizes again at "
    "status.authorizeURL.",
    Reason.SUBJECT_CHANGED: "The provider renewed this sign-in for somebody else than the person who authorized; what it gave was "
    "revoked. The person authorizes again at status.authorizeURL; if it happens again, tell the provider's administrator.",
    Reason.NO_REFRESH_TOKEN: "The provider gave no refresh token, so a sign-in lasts as long as one access token: the person "
    "authorizes again at status.authorizeURL. To have it renewed, ask for a scope such as offline_access in spec.scopes of the "
    "OAuthApp {app}.",
    Reason.UNDECIPHERABLE: "The stored token cannot be opened: its key is not in the key ring, or the token was moved here from "
    "another credential. The person authorizes again at status.authorizeURL, or an administrator restores the key ring.",
}

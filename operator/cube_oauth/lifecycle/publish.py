"""What to write after the network: the next Secret, and the status."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.decide import WITHDRAWN, Observed, blocked, bound, last_used, renewable, state_of
from cube_oauth.lifecycle.reasons import SENTENCES, Reason
from cube_oauth.lifecycle.timing import next_refresh, sign_in_ends, warning
from cube_oauth.resources.meta import Condition, rfc3339, settle
from cube_oauth.resources.secrets import Claim, Reference, TokenRecord, TokenSecret
from cube_oauth.resources.usercredential import State, UserCredentialStatus, username_problem

if TYPE_CHECKING:
    from cube_oauth.resources.meta import ObjectMeta
    from cube_oauth.resources.oauthapp import ClientAuthentication
    from cube_oauth.resources.secrets import Grant

LONGEST_LIFETIME = timedelta(days=365)
AUTHORIZED = "Authorized"
"""The condition that says how the last authorization went; kept until the next one."""

TELLING = timedelta(seconds=30)
"""What two answers say of the refresh token's end tells nothing when they are nearer than this: each is off by the time that its
request took, and by a rounding."""

SIGN_IN_ENDING = "SignInEnding"
"""The condition that says that the person has to authorize again soon; absent otherwise."""


@dataclass(frozen=True)
class Issued:
    """What a provider answered, already encrypted."""

    access_token: str
    refresh_token: str | None
    issued_at: datetime
    expires_in: timedelta | None
    """None: the provider did not say; the app's default applies."""
    refresh_token_expires_in: timedelta | None = None
    subject: str | None = None
    scopes: tuple[str, ...] = ()
    account: str | None = None
    """A hash of who signed in at the provider, where an ID token says so."""
    session: str | None = None
    """A hash of the session at the provider, where an ID token says so."""
    authorized_at: datetime | None = None
    """When the person authorized, for a sign-in, by the API server's clock; None: when it was issued."""


def reference(meta: ObjectMeta) -> Reference:
    """An object by name and UID."""
    return Reference(namespace=meta.namespace, name=meta.name, uid=meta.uid)


def _lifetime(issued: Issued, default_seconds: int) -> timedelta:
    lifetime = issued.expires_in or timedelta(seconds=default_seconds)
    return min(max(lifetime, timedelta(seconds=1)), LONGEST_LIFETIME)


def _said_end(issued: Issued) -> datetime | None:
    """When the refresh token ends, as this answer says it."""
    if issued.refresh_token_expires_in is None:
        return None
    return issued.issued_at + min(issued.refresh_token_expires_in, LONGEST_LIFETIME * 10)


def _refresh_end(record: TokenRecord, issued: Issued) -> tuple[datetime | None, bool | None]:
    """When the refresh token ends after a refresh, and whether that moves with each refresh.

    A rotated refresh token whose end is not said has an unknown one; a token that stayed keeps its own. The end moves if it moved
    by at least half of the time that went by; what was known of that stays when too little did.
    """
    before, said = record.refresh_token_expires_at, _said_end(issued)
    if said is None:
        return (None, None) if issued.refresh_token else (before, False if before else None)
    passed = issued.issued_at - record.issued_at
    if before is None or passed < TELLING:
        return said, record.refresh_token_rolls if before else None
    return said, said - before > passed / 2


def granted(
    observed: Observed,
    issued: Issued,
    grant: str,
    token_url: str,
    revocation_url: str | None,
    client_authentication: ClientAuthentication | None = None,
    exchange_url: str | None = None,
) -> TokenSecret:
    """The Secret after a new sign-in: nothing of an older sign-in stays but the count of revisions."""
    app, old = observed.app, observed.token
    if app is None:
        raise ValueError("a grant needs its OAuthApp")
    record = TokenRecord(
        credential=reference(observed.credential.metadata),
        app=reference(app.metadata),
        username=observed.credential.spec.username,
        token_url=token_url,
        revocation_url=revocation_url,
        exchange_url=exchange_url,
        client_id=app.spec.client_id,
        client_authentication=client_authentication,
        client_secret=app.spec.client_secret_ref,
        grant=grant,
        signed_in_at=issued.authorized_at or issued.issued_at,
        account=issued.account,
        session=issued.session,
        revision=(old.record.revision if old else 0) + 1,
        subject=issued.subject,
        scopes=issued.scopes,
        issued_at=issued.issued_at,
        expires_at=issued.issued_at + _lifetime(issued, app.spec.default_token_lifetime_seconds),
        refresh_token_expires_at=_said_end(issued),
    )
    return TokenSecret(record, None, issued.access_token, issued.refresh_token, old.resource_version if old else None)


def unwanted(grant: Grant, name: str, issued: Issued, token_url: str, revocation_url: str | None) -> TokenSecret:
    """What a code gave that nobody will use, as far as revoking needs it."""
    record = TokenRecord(
        credential=grant.credential,
        app=grant.app,
        username=grant.username,
        token_url=token_url,
        revocation_url=revocation_url,
        client_id=grant.client_id,
        grant=name,
        revision=0,
        issued_at=issued.issued_at,
        expires_at=issued.issued_at + (issued.expires_in or LONGEST_LIFETIME),
        refresh_token_expires_at=_said_end(issued),
    )
    return TokenSecret(record, None, issued.access_token, issued.refresh_token)


def claimed(token: TokenSecret, claim: Claim) -> TokenSecret:
    """The Secret with the right to redeem its refresh token once."""
    return replace(token, claim=claim)


def refreshed(token: TokenSecret, issued: Issued, default_seconds: int, for_rejection: int | None = None) -> TokenSecret:
    """The Secret after a refresh. An answer without a refresh token keeps the old one (RFC 6749, section 6)."""
    ends, rolls = _refresh_end(token.record, issued)
    record = token.record.model_copy(
        update={
            "revision": token.record.revision + 1,
            "subject": issued.subject or token.record.subject,
            "scopes": issued.scopes or token.record.scopes,
            "issued_at": issued.issued_at,
            "expires_at": issued.issued_at + _lifetime(issued, default_seconds),
            "refresh_token_expires_at": ends,
            "refresh_token_rolls": rolls,
            "refreshed_for_rejection": for_rejection,
            "ended": None,
            "denied": None,
            "denied_at": None,
        }
    )
    return replace(
        token,
        record=record,
        claim=None,
        access_token=issued.access_token,
        refresh_token=issued.refresh_token or token.refresh_token,
    )


def rotated(there: TokenSecret | None, ours: TokenSecret, refresh_token: str) -> TokenSecret | None:
    """What to write of a refresh before its answer is complete: only the new refresh token, under our claim. None: too late."""
    if there is None or there.record.grant != ours.record.grant:
        return None
    return replace(there, refresh_token=refresh_token, claim=ours.claim) if _redeemed(there, ours) else None


def merged(
    there: TokenSecret | None, ours: TokenSecret, issued: Issued, default_seconds: int, for_rejection: int | None = None
) -> TokenSecret | None:
    """What to write of a refresh whose claim stood in ``ours``, given what is stored now; None when it came too late.

    It counts while the claim stands; and when somebody took us for dead, and claimed the token that we had redeemed, or was refused
    it: then this answer is all there is. What is written already (its answer was lost) is given back as it is.
    """
    if there is None or there.record.grant != ours.record.grant:
        return None
    if there.access_token == issued.access_token:
        return there
    if _stands(there, ours) or (issued.refresh_token and (_redeemed(there, ours) or _refused(there, ours))):
        return refreshed(there, issued, default_seconds, for_rejection)
    return None


def _stands(there: TokenSecret, ours: TokenSecret) -> bool:
    return there.claim is not None and ours.claim is not None and there.claim.id == ours.claim.id


def _redeemed(there: TokenSecret, ours: TokenSecret) -> bool:
    """Whether what is claimed, by us or by whoever took us for dead, is the very refresh token that we have redeemed."""
    same = there.claim and ours.claim and there.claim.refresh_token_hash == ours.claim.refresh_token_hash
    return bool(same) and there.record.revision == ours.record.revision


def _refused(there: TokenSecret, ours: TokenSecret) -> bool:
    """Whether somebody else was refused the refresh token of ``ours`` since, and wrote that; not a person's own ending."""
    record = there.record
    over = there.refresh_token is None and record.ended not in (None, *WITHDRAWN.values())
    refused = over or (record.denied is not None and there.refresh_token == ours.refresh_token)
    return refused and there.claim is None and record.revision == ours.record.revision


def ended(token: TokenSecret, reason: str) -> TokenSecret:
    """The Secret after the provider refused the refresh token for good: it is of no use any more."""
    return replace(token, record=token.record.model_copy(update={"ended": reason}), claim=None, refresh_token=None)


def denied(token: TokenSecret, reason: str, now: datetime) -> TokenSecret:
    """The Secret after the provider's policy refused the person: the refresh token stays, for when it permits them again."""
    return replace(token, record=token.record.model_copy(update={"denied": reason, "denied_at": now}), claim=None)


def without_access_token(token: TokenSecret) -> TokenSecret:
    """The Secret once the access token has ended."""
    return replace(token, access_token=None)


def withdrawn(token: TokenSecret, reason: Reason) -> TokenSecret:
    """The Secret without any token: what they were is remembered, and the count of revisions goes on."""
    record = token.record.model_copy(update={"ended": WITHDRAWN[reason]})
    return replace(token, record=record, claim=None, access_token=None, refresh_token=None)


def status(observed: Observed, authorize_url: str, now: datetime) -> UserCredentialStatus:
    """The whole status, from what is there now. ``demand`` is the broker's and left out."""
    state, reason = state_of(observed, now)
    token = observed.token
    record = token.record if token else None
    active = state is State.ACTIVE
    refreshes = record is not None and renewable(observed) and not blocked(observed)
    app = observed.app
    return UserCredentialStatus(
        observed_generation=observed.credential.metadata.generation,
        state=state,
        authorize_url=authorize_url,
        expires_at=record.expires_at if record and record.ended not in WITHDRAWN.values() else None,
        refresh_at=next_refresh(record, app.spec.refresh, last_used(observed), observed.credential.metadata.uid, now)
        if record and app and refreshes
        else None,
        refresh_token_expires_at=record.refresh_token_expires_at if record and token and token.refresh_token else None,
        sign_in_ends_at=_known_end(token) if token and not blocked(observed) else None,
        last_refreshed_at=record.issued_at if record else None,
        revision=record.revision if record else None,
        subject=record.subject if record else None,
        scopes=list(record.scopes) if record and record.scopes else None,
        conditions=settle(
            tuple(
                condition.model_copy(update={"message": condition.message.replace("status.authorizeURL", authorize_url)})
                for condition in (_ready(observed), _active(observed, reason, active=active), *_ending(observed, now))
            )
            + _kept(observed),
            observed.credential.status.conditions,
            now,
        ),
    )


def _known_end(token: TokenSecret) -> datetime | None:
    """When the person has (or had) to authorize again, as far as it is known: an access token that is the last one says it, too."""
    if token.record.ended in WITHDRAWN.values():
        return None
    last = token.refresh_token is None or token.record.denied
    return token.record.expires_at if last else sign_in_ends(token)


def _kept(observed: Observed) -> tuple[Condition, ...]:
    return tuple(condition for condition in observed.credential.status.conditions if condition.type == AUTHORIZED)


def _ending(observed: Observed, now: datetime) -> tuple[Condition, ...]:
    token = observed.token
    near = warning(token, now) if token and not blocked(observed) else None
    ends = sign_in_ends(token) if token else None
    if near is None or ends is None:
        return ()
    message = (
        f"The provider lets this sign-in be renewed until {rfc3339(ends)} and no longer: the person authorizes again at "
        "status.authorizeURL before that."
    )
    generation = observed.credential.metadata.generation
    return (Condition(type=SIGN_IN_ENDING, status="True", reason=near, message=message, observed_generation=generation),)


def _ready(observed: Observed) -> Condition:
    """``Ready`` says reconciled, so that nothing waits for a person (kstatus); only a bad resource is not ready."""
    bad = blocked(observed)
    generation = observed.credential.metadata.generation
    if bad in (Reason.INVALID_USERNAME, Reason.DUPLICATE, Reason.APP_NOT_FOUND):
        return Condition(type="Ready", status="False", reason=bad, message=_sentence(bad, observed), observed_generation=generation)
    return Condition(type="Ready", status="True", reason="Reconciled", message="Reconciled.", observed_generation=generation)


def _active(observed: Observed, reason: str, *, active: bool) -> Condition:
    message = _sentence(reason, observed)
    token = observed.token
    if active and token and not renewable(observed):
        message = (
            f"Connected until {rfc3339(token.record.expires_at)}. After that: {_sentence(_obstacle(observed, token), observed)}"
        )
    return Condition(
        type="Active",
        status="True" if active else "False",
        reason=reason,
        message=message,
        observed_generation=observed.credential.metadata.generation,
    )


def _obstacle(observed: Observed, token: TokenSecret) -> str:
    """Why the present access token is the last."""
    if token.record.ended or token.refresh_token is None:
        return token.record.ended or Reason.NO_REFRESH_TOKEN
    changed = observed.app is not None and observed.app_ready and not bound(token.record, observed.app)
    return Reason.CLIENT_CHANGED if changed else token.record.denied or Reason.APP_NOT_READY


def _sentence(reason: str, observed: Observed) -> str:
    sentence = SENTENCES.get(reason, "The person authorizes again at status.authorizeURL.")
    spec = observed.credential.spec
    return sentence.format(detail=username_problem(spec.username), app=spec.oauth_app_ref.name)

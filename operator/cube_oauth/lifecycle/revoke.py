"""Which tokens are revoked at the provider, and for how long that is tried. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.decide import origin
from cube_oauth.resources.oauthapp import ClientAuthentication
from cube_oauth.resources.secrets import Revocation, RevocationSecret

if TYPE_CHECKING:
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret

LONGEST = timedelta(days=7)
"""After this a revocation is given up, if the token has not ended before. Longer than an outage, shorter than a key lives."""

LONGEST_PAUSE = timedelta(minutes=15)
"""Between two attempts, at most."""

SOON = timedelta(seconds=1)
"""When to look again at a revocation whose tokens are about to be removed from where they were."""

UNUSED = timedelta(hours=1)
"""A revocation that was written down before its tokens were given up is forgotten after this, if they never were."""


def set_aside(
    token: TokenSecret,
    reason: str,
    method: ClientAuthentication | None,
    client_secret: str | None,
    now: datetime,
    assertion_audience: str | None = None,
) -> RevocationSecret | None:
    """What has to be remembered to revoke ``token``; None when there is nothing to revoke, or nowhere.

    The refresh token ends the whole sign-in (RFC 7009, section 2.1), so the access token goes only where there is no other.
    ``client_secret`` is sealed.
    """
    record = token.record
    access_token = token.access_token if record.exchange_url is None else None  # else it is the warehouse's
    ends = record.refresh_token_expires_at if token.refresh_token else record.expires_at
    if record.revocation_url is None or not (token.refresh_token or access_token) or (ends and ends <= now):
        return None
    until = min(ends, now + LONGEST) if ends else now + LONGEST
    revocation = Revocation(
        token=record,
        reason=reason,
        since=now,
        until=until,
        client_authentication=method or ClientAuthentication.NONE,
        assertion_audience=assertion_audience,
    )
    return RevocationSecret(revocation, None if token.refresh_token else access_token, token.refresh_token, client_secret)


def in_use(revocation: Revocation, token: TokenSecret | None) -> bool:
    """Whether the sign-in that was to be given up has not been: whoever wrote it down came no further."""
    there = token is not None and (token.access_token is not None or token.refresh_token is not None)
    return there and token is not None and token.record.grant == revocation.token.grant


def surely_another(old: TokenRecord, new: TokenRecord) -> bool:
    """Whether the provider surely keeps two sign-ins of a person apart, so that revoking the old one spares the new one.

    What ends with a token is the provider's choice (RFC 7009, section 2.1: "the authorization grant"): at some only what came
    from this token, at some the session that both sign-ins share, at some all that the account ever granted to the client.
    """
    if old.client_id != new.client_id or origin(old.token_url) != origin(new.token_url):
        return True
    return _differ(old.account, new.account) or _differ(old.session, new.session)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def replaced_is_revoked(app: OAuthApp, old: TokenSecret | None, new: TokenRecord) -> bool:
    """Whether the sign-in ``old`` is revoked after ``new`` has taken its place."""
    if old is None or old.record.grant == new.grant or app.spec.revoke_replaced == "Never":
        return False
    return app.spec.revoke_replaced == "Always" or surely_another(old.record, new)

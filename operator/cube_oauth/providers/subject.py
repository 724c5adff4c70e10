"""Asking who authorized, wherever a provider says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cube_oauth.providers.identity import IdentityError, access_token_claims, id_token_claims
from cube_oauth.resources.oauthapp import SubjectSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from cube_oauth.providers.answers import TokenAnswer
    from cube_oauth.providers.authentication import ClientCredentials
    from cube_oauth.providers.client import ProviderClient
    from cube_oauth.providers.endpoints import Endpoints


async def said_of_person(
    provider: ProviderClient,
    endpoints: Endpoints,
    client: ClientCredentials,
    answer: TokenAnswer,
    *,
    nonce: str | None,
    now: datetime,
    within: timedelta | None = None,
) -> Mapping[str, Any] | None:
    """What the provider says of whoever authorized, in the place that ``endpoints.subject`` names; None when it says nothing there.

    An ID token is checked whenever there is one. Raises IdentityError when it contradicts what is known, and ProviderError when
    the provider had to be asked and could not be.
    """
    id_token = id_token_claims(answer, issuer=endpoints.issuer, client_id=client.client_id, nonce=nonce, now=now)
    match endpoints.subject.source:
        case SubjectSource.ID_TOKEN:
            return id_token
        case SubjectSource.ACCESS_TOKEN:
            return access_token_claims(answer, now=now)
        case SubjectSource.TOKEN_ANSWER:
            return answer.said if any(claim in answer.said for claim in endpoints.subject.claims) else None
        case SubjectSource.USER_INFO:
            return _same_person(await provider.userinfo(endpoints, answer.access_token, within=within), id_token)
        case SubjectSource.INTROSPECTION:
            return _active(await provider.introspect(endpoints, client, answer.access_token, within=within))
    return None


def _same_person(found: Mapping[str, Any], id_token: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Userinfo counts only for the ID token's subject (OpenID Connect Core, section 5.3.2)."""
    if id_token is not None and found.get("sub") != id_token.get("sub"):
        raise IdentityError("SubjectDiffers")
    return found


def _active(found: Mapping[str, Any]) -> Mapping[str, Any]:
    if found.get("active") is not True:
        raise IdentityError("Inactive")
    return found

"""Who somebody is, by the word of a proxy in front of the portal: believed at its stated address alone, and on every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.portal.addresses import within
from cube_oauth.portal.oidc import Person
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import Session
from cube_oauth.portal.texts import Text, say
from cube_oauth.resources.usercredential import username_fault

if TYPE_CHECKING:
    from datetime import datetime

    from multidict import CIMultiDictProxy

    from cube_oauth.portal.settings import ProxySettings


def person_of(headers: CIMultiDictProxy[str], peer: str | None, settings: ProxySettings) -> Person:
    """The person that the proxy names. Raises RefusedError when it is not the proxy, or names nobody, or two."""
    if not within(peer, settings.addresses):
        raise RefusedError("NotThroughProxy", 403)
    named = headers.getall(settings.username_header, [])
    if len(named) != 1 or not named[0] or "," in named[0]:  # two lines may have become one on the way (RFC 9110, section 5.3)
        raise RefusedError("Nameless", 401, why=say("nameless.header", header=settings.username_header))
    if fault := username_fault(named[0]):
        raise RefusedError("Nameless", 403, why=Text(f"username.{fault}"))
    groups = (group.strip() for line in headers.getall(settings.groups_header, []) for group in line.split(","))
    return Person(named[0], tuple(group for group in groups if group))


def continued(session: Session | None, person: Person, now: datetime) -> Session:
    """This person's session: the browser's, if it is theirs, otherwise a new one, so that nobody's forms are another's."""
    if session is None or session.username != person.username:
        return Session.begin(person.username, person.groups, now)
    return session.model_copy(update={"groups": person.groups})

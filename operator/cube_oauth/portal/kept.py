"""What was typed into a long form is not lost when the session ends: the answer holds it, and shows it again after the log-in.

The client secret is never among it. What shows it changes nothing, so it needs no token of a session; a page of ours has to
have sent it all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.portal.admin import PATH
from cube_oauth.portal.refusals import Kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

AGAIN = "/again"
FORMS = (f"{PATH}/new", f"{PATH}/{{namespace}}/{{app}}/edit")
"""The routes of long forms; each has another one, with AGAIN at its end, that shows what it is sent and changes nothing."""
_NEVER = ("token", "client_secret")


def route_of(request: web.Request) -> str:
    """The route as it is registered; "" when there is none."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""


def only_shows(request: web.Request) -> bool:
    """Whether the address shows what was typed, and no more."""
    return route_of(request) in {form + AGAIN for form in FORMS}


def kept(request: web.Request, form: Mapping[str, object]) -> Kept | None:
    """What to keep of a form; None when nothing much was typed."""
    if route_of(request).removesuffix(AGAIN) not in FORMS:
        return None
    fields = {name: value for name, value in form.items() if isinstance(value, str) and name not in _NEVER}
    return Kept(request.path.removesuffix(AGAIN) + AGAIN, fields)

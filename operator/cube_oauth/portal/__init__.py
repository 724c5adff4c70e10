"""The pages where people connect their accounts. Server-rendered, without JavaScript, and without a state of its own.

``server`` wires, ``routes`` lists the pages, ``guard`` stands before all of them; ``login`` and ``connect`` are the two round trips
to a provider. Pure: ``session``, ``overview``, ``security``, ``texts``.
"""

from cube_oauth.portal.server import run

__all__ = ["run"]

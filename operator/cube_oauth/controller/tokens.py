"""The token Secrets: a local copy, and writes that are compared and swapped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cube_oauth.controller.queue import full_jitter
from cube_oauth.kube.api import SECRETS, Api, KubeError
from cube_oauth.kube.watch import Mirror, version_of
from cube_oauth.resources.names import KIND_LABEL, token_secret_name
from cube_oauth.resources.secrets import TokenSecret

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


class TokenStore:
    """Reads from the copy, writes with the version that was read, and puts what was written into the copy at once.

    ``changed`` tells of what others did; whoever writes here knows. What is new is told in any case: its owner may be gone by then.
    """

    def __init__(self, api: Api, namespace: str, changed: Callable[[TokenSecret | None, TokenSecret | None], None]) -> None:
        self._api = api
        self._namespace = namespace
        self.mirror: Mirror[TokenSecret] = Mirror(
            api,
            SECRETS,
            TokenSecret.from_kubernetes,
            namespace=namespace,
            label_selector=f"{KIND_LABEL}=token",
            changed=lambda _, new, old: None if self._writing and old else changed(new, old),
        )
        self._writing = False

    def get(self, credential_uid: str) -> TokenSecret | None:
        """The tokens of a credential; what lies in its Secret but names another one does not count."""
        token = self.mirror.get((self._namespace, token_secret_name(credential_uid)))
        return token if token and token.record.credential.uid == credential_uid else None

    async def write(self, token: TokenSecret) -> TokenSecret:
        """Create, or replace the version that ``token`` names. KubeError with ``conflict`` when somebody else wrote."""
        body = token.to_kubernetes(self._namespace)
        if token.resource_version:
            answer = await self._api.replace(SECRETS, body)
        else:
            answer = await self._api.create(SECRETS, body, self._namespace)
        written = TokenSecret.from_kubernetes(answer)
        self._writing = True
        try:
            self.mirror.take((self._namespace, written.name), written, version_of(answer))
        finally:
            self._writing = False
        return written

    async def reread(self, credential_uid: str) -> TokenSecret | None:
        """What the API server has now, past the copy; told as what others did, since the watch will not say it again."""
        name = token_secret_name(credential_uid)
        found = await self._api.get(SECRETS, name, self._namespace)
        if found is None:
            self.mirror.discard((self._namespace, name))
            return None
        self.mirror.put(found)
        return self.get(credential_uid)

    async def delete(self, token: TokenSecret) -> None:
        """Remove this very version of a Secret; it may be gone already. KubeError with ``conflict`` when somebody else wrote."""
        await self._api.delete(SECRETS, token.name, self._namespace, resource_version=token.resource_version)
        self.mirror.discard((self._namespace, token.name))

    async def settle(
        self, uid: str, known: TokenSecret | None, change: Callable[[TokenSecret | None], TokenSecret | None]
    ) -> TokenSecret | None:
        """Write ``change(what is there)`` until it is written: what a provider answered exists nowhere else.

        ``change`` is asked again after each failure, with what is there then; None from it ends the attempts. Gives what is
        written, or None. A write that succeeded although its answer was lost counts as one.
        """
        for failures in itertools.count(1):
            wanted = change(known)
            if wanted is None or (known is not None and _same(known, wanted)):
                return wanted and known
            try:
                return await self.write(wanted)
            except KubeError as error:
                log.warning("token Secret not written; tried again", extra={"secret": wanted.name, "error": str(error)})
            await asyncio.sleep(full_jitter(failures, FIRST_PAUSE, LONGEST_PAUSE).total_seconds())
            with contextlib.suppress(KubeError):
                known = await self.reread(uid)
        raise AssertionError("unreachable")


def _same(known: TokenSecret, wanted: TokenSecret) -> bool:
    """Whether ``wanted`` is written already. Each encryption gives another text, so equal ones come from the same answer."""
    return replace(known, resource_version=None) == replace(wanted, resource_version=None)

"""Trying an OAuthApp without a person: its provider's addresses, its client's credentials, and the redirect URI."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cube_oauth.controller.apps import AppNotReadyError
from cube_oauth.controller.inventory import key_of
from cube_oauth.controller.rotation import REQUEST
from cube_oauth.lifecycle.apps import Problem
from cube_oauth.lifecycle.deposits import REDIRECT_URI_REFUSED, trial
from cube_oauth.providers import Kind, ProviderError, authorization_url, new_verifier

if TYPE_CHECKING:
    from cube_oauth.controller.apps import Apps, Client
    from cube_oauth.controller.clock import Clock
    from cube_oauth.providers import ProviderClient
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.settings import Installation

_ABOUT_THE_REQUEST = ("InvalidRequest", "InvalidScope", "InvalidTarget", "RefusedWithoutReason")
"""What may be said to a made-up code alone: whoever says so has not refused the client."""


class Trials:
    """Tries OAuthApps."""

    def __init__(self, apps: Apps, provider: ProviderClient, installation: Installation, clock: Clock) -> None:
        self._apps = apps
        self._provider = provider
        self._installation = installation
        self._clock = clock

    async def run(self, app: OAuthApp, problem: Problem | None = None) -> None:
        """Try it now, and let its status say how it went; ``problem``: what is wrong already. Raises KubeError."""
        key = key_of(app.metadata)
        await self._apps.reconcile(key)  # with the Secret as it is now
        self._apps.tried(key, trial(app, problem or await self._problem(app), self._clock.now()))

    async def _problem(self, app: OAuthApp) -> Problem | None:
        try:
            client = await self._apps.client(key_of(app.metadata))
            await self._credentials(app, client)
            return await self._redirect_uri(app, client)
        except AppNotReadyError as error:
            return error.problem
        except ProviderError as error:
            return Problem(error.reason, error.message)

    async def _credentials(self, app: OAuthApp, client: Client) -> None:
        """Hand in a code that nobody was given: a provider looks at the client first (RFC 6749, section 3.2.1)."""
        try:
            await self._provider.exchange_code(
                client.endpoints,
                client.credentials,
                code=SecretStr(secrets.token_urlsafe(24)),
                redirect_uri=self._installation.redirect_uri(*key_of(app.metadata)),
                code_verifier=new_verifier() if app.spec.pkce else None,
                within=REQUEST,
            )
        except ProviderError as error:
            if error.kind is not Kind.USER and error.reason not in _ABOUT_THE_REQUEST:
                raise

    async def _redirect_uri(self, app: OAuthApp, client: Client) -> Problem | None:
        """Ask as a browser would: a provider does not go on with an unknown redirect URI (RFC 6749, section 4.1.2.1)."""
        url = authorization_url(
            client.endpoints,
            app.spec.client_id,
            redirect_uri=self._installation.redirect_uri(*key_of(app.metadata)),
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            code_verifier=new_verifier() if app.spec.pkce else None,
        )
        return REDIRECT_URI_REFUSED if 400 <= await self._provider.status_of(url) < 500 else None  # noqa: PLR2004 - client errors

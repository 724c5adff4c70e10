"""The portal as a server in a thread of its own, for what asks it over HTTP from outside: a browser, a tester of APIs."""

import asyncio
import dataclasses
import threading
from contextlib import contextmanager

from aiohttp.test_utils import TestServer

from cube_oauth.kube.api import CONFIG_MAPS, OAUTH_APPS, USER_CREDENTIALS
from cube_oauth.portal.cluster import Cluster
from cube_oauth.portal.portal import Portal, utc_now
from cube_oauth.portal.routes import application
from cube_oauth.portal.session import Session
from cube_oauth.portal.settings import Admins
from cube_oauth.portal.visit import Cookies
from cube_oauth.resources.keyring import Keyring, SealingKey
from tests.parts.processes import free_port
from tests.unit.portal.conftest import LOG_IN, FakeApi, LogInProvider, app_of, settings_of


class Place:
    """One portal in a thread of its own."""

    def __init__(self):
        self.api, ring, self.key = FakeApi(), Keyring.generate(), SealingKey.generate()
        self.cookies = Cookies(lambda: ring)

    def furnish(self, settings, clock):
        cluster = Cluster(self.api, settings.installation)
        self.api.cluster = cluster
        for mirror in (*cluster._apps, *cluster._credentials):
            mirror.synced.set()
        metadata = {"namespace": "cube-oauth", "name": "cube-oauth-grant-key"}
        self.api.put(CONFIG_MAPS, {"metadata": metadata, "data": {"ring": self.key.to_json(private=False)}})
        return Portal(settings, cluster, self.cookies, LogInProvider(LOG_IN), clock=clock)

    async def serve(self, ready, end, public_url, clock, changed):
        self._loop, port = asyncio.get_running_loop(), free_port()
        self.url = f"http://localhost:{port}"
        settings = dataclasses.replace(settings_of(public_url or self.url), admins=Admins(groups=("platform",)), **changed)
        async with TestServer(application(self.furnish(settings, clock)), host="localhost", port=port):
            ready.set()
            await asyncio.to_thread(end.wait)

    def app(self, title, number, **more):
        self.api.put(OAUTH_APPS, app_of(f"app-{number:02}", spec={"displayName": title}, **more))

    def while_served(self, resource, body):
        """Put an object there as the watch would, so that open pages hear of it."""
        self._loop.call_soon_threadsafe(self.api.put, resource, body)

    def clear(self):
        for plural, namespace, name in list(self.api.objects):
            if plural != "configmaps":
                kind = OAUTH_APPS if plural == "oauthapps" else USER_CREDENTIALS
                del self.api.objects[plural, namespace, name]
                self.api._mirror(kind, {"namespace": namespace, "name": name}, None)

    def session(self, username, groups=()):
        """Somebody who is logged in: the cookie's value, and the token of the forms."""
        session = Session.begin(username, groups, utc_now())
        return self.cookies.session.sealed(session), session.new_form_token()


@contextmanager
def running(public_url=None, clock=utc_now, **changed):
    """A portal that answers at ``place.url`` while the block runs, with the objects that are put there, and other settings.

    ``public_url``: what its pages call it, instead; then no form is taken for its own.
    """
    place, ready, end = Place(), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(place.serve(ready, end, public_url, clock, changed)))
    thread.start()
    try:
        assert ready.wait(60)
        yield place
    finally:
        end.set()
        thread.join(20)

"""The controller's look at service accounts: a clock that stands still, an API server of dictionaries, a provider that counts."""

import base64
from datetime import timedelta

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.accounts import Accounts
from cube_oauth.controller.budget import Backoff, Budget
from cube_oauth.controller.calls import Calls
from cube_oauth.controller.inventory import Inventory, key_of
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.rollouts import Rolled
from cube_oauth.kube.api import SECRETS, KubeError
from cube_oauth.lifecycle.accounts import Source
from cube_oauth.providers import Endpoints, Kind, ProviderError, TokenAnswer
from cube_oauth.resources.accounts import AccountSecret, values_from_text
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.oauthapp import AccountDemand, ClientAuthentication
from tests.unit.controller.clocks import StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import TOKEN_URL, app

KEY = ("team", "trino")
STORED, TARGET = SECRETS.path("tokens", "account-uid-app"), SECRETS.path("team", "trino-service-account")
WRONG = ProviderError(Kind.APP, "InvalidClient", "The provider does not accept the client's ID or secret.")
DOWN = ProviderError(Kind.WEATHER, "ProviderUnavailable", "The provider has an error of its own.")
FETCHED = {"clientCredentials": {"clientID": "sa", "clientSecretRef": {"name": "sa-client"}}, "env": {"TOKEN": "accessToken"}}
COPIED = {"secretRef": {"name": "sa", "namespace": "vault"}, "env": {"PASS": "password"}}
BESIDE = {"secretRef": {"name": "sa"}, "env": {"PASS": "password"}}
LIFETIME = timedelta(hours=1)


class FakeApps:
    def __init__(self):
        self.client_secret, self.method, self.is_gone = SecretStr("s1"), ClientAuthentication.BASIC, True
        self.said, self.conditions, self.token_url = {}, {}, TOKEN_URL

    def known(self, key):
        return True

    async def endpoints(self, key):
        return Endpoints("https://idp/a", self.token_url, client_authentication=self.method, scopes=("openid", "query"))

    async def secret(self, app, reference):
        return self.client_secret

    async def gone(self, reference):
        return self.is_gone

    def account(self, key, said, secret):
        self.said[key], self.conditions[key] = (said and (said.status, said.reason), secret), said

    def in_trouble(self, key, error):
        pass

    def answered(self, key):
        pass


class FakeProvider:
    def __init__(self):
        self.asked, self.problem = [], None

    async def client_credentials(self, endpoints, client, parameters=None, *, within=None):
        self.asked.append((client.client_id, client.secret.get_secret_value(), endpoints.scopes, endpoints.client_authentication))
        if self.problem:
            raise self.problem
        return TokenAnswer(SecretStr(f"token-{len(self.asked)}"), None, expires_in=LIFETIME)


class Server(FakeApi):
    refused = frozenset()

    async def get(self, resource, name, namespace=None):
        if resource.path(namespace, name) in self.refused:
            raise KubeError(403, "Forbidden", "GET")
        return await super().get(resource, name, namespace)

    def store(self, path, body):
        return super().store(path, {**body, "metadata": {"uid": f"uid-{self.version}", **body["metadata"]}})


class FakeEvents:
    def __init__(self):
        self.told = []

    def warning(self, kind, meta, reason, note):
        self.told.append(reason)

    normal = warning


class FakeSources:
    def __init__(self):
        self.found, self.followed = None, {}

    def follow(self, app, source):
        self.followed[app] = source

    def get(self, source):
        return self.found


class FakeRollouts:
    def __init__(self):
        self.rolled, self.found, self.since = [], Rolled.OUT, None

    async def roll(self, namespace, secret, since, version):
        self.rolled.append((secret, version))
        self.since = since
        return self.found


class Bench:
    def __init__(self):
        self.api, self.clock, self.apps, self.provider = Server(), StoppedClock(), FakeApps(), FakeProvider()
        self.keys = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
        self.inventory, self.sources, self.events = Inventory(), FakeSources(), FakeEvents()
        self.rollouts = FakeRollouts()
        self.restart()

    def restart(self):
        """A process that knows nothing but what is stored."""
        calls = Calls(self.apps, Budget(), Metrics(CollectorRegistry()), self.clock)
        parts = (self.keys, Budget(), Backoff(), self.events, self.clock, self.rollouts)
        self.accounts = Accounts(
            self.api, "tokens", self.inventory, self.apps, self.provider, calls, *parts, found=lambda key: None
        )
        self.accounts.sources = self.sources
        for key, said in self.apps.conditions.items():
            known = self.inventory.apps[key]
            status = known.status.model_copy(update={"conditions": (said,)})
            self.inventory.apps[key] = known.model_copy(update={"status": status})
        for path, item in self.api.objects.items():
            if path == STORED:
                self.accounts.mirror.put(item)

    def declare(self, account, uid="uid-app", **spec):
        made = app(serviceAccount=account, clientSecretRef={"name": "client"}, **spec) if account else app(**spec)
        made = made.model_copy(update={"metadata": made.metadata.model_copy(update={"uid": uid})})
        self.inventory.apps[key_of(made.metadata)] = made
        return made

    async def look(self):
        return await self.accounts.reconcile(KEY)

    def reject(self, revision):
        """What the broker writes."""
        known = self.inventory.apps[KEY]
        status = known.status.model_copy(update={"demand": AccountDemand(rejected_revision=revision)})
        self.inventory.apps[KEY] = known.model_copy(update={"status": status})

    def stored(self):
        found = self.api.objects.get(STORED)
        return AccountSecret.from_kubernetes(found) if found else None

    def published(self):
        """What the broker can read."""
        secret = self.stored()
        return (
            values_from_text(self.keys.access.open(secret.values, secret.record.owner).get_secret_value())
            if secret.values
            else None
        )

    def target(self):
        """What pods read."""
        return {name: base64.b64decode(value).decode() for name, value in self.api.objects[TARGET]["data"].items()}

    def source(self, consent="team", permitted=True, **data):
        annotations = {"cubeoauth.dev/service-account-namespaces": consent}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        secret = {"metadata": {"name": "sa", "annotations": annotations}, "data": encoded} if data else None
        self.sources.found = Source(secret if permitted else None, permitted)

    def said(self):
        return self.apps.said[KEY]

"""What the broker knows of the cluster: copies of token Secrets, UserCredentials and OAuthApps, and who is affected by a change."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cube_oauth.broker.answer import Found, counting, may_resolve, oldest_first
from cube_oauth.kube.api import OAUTH_APPS, SECRETS, USER_CREDENTIALS
from cube_oauth.kube.watch import Key, Mirror
from cube_oauth.providers.endpoints import data_source_of
from cube_oauth.resources.accounts import AccountSecret
from cube_oauth.resources.names import KIND_LABEL, account_secret_name, token_secret_name
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.secrets import TokenRecord, TokenSecret
from cube_oauth.resources.usercredential import UserCredential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cube_oauth.broker.callers import Workload
    from cube_oauth.broker.questions import Question
    from cube_oauth.kube.api import Api
    from cube_oauth.settings import Installation


class Listener(Protocol):
    """Is told who is affected by a change; ``username`` None means everybody of the namespace.

    ``rotated``: only the token is a newer one of the same sign-in, so that nobody lost a permission.
    """

    def __call__(self, namespace: str, username: str | None, *, rotated: bool = False) -> None:
        """Be told."""


class World:
    """Everything that answers are made of. Only changes that decide about an answer are told to ``listener``.

    ``accounts(namespace)`` is told when a service account of this namespace changed.
    """

    def __init__(self, api: Api, installation: Installation, listener: Listener, accounts: Callable[[str], object]) -> None:
        self._installation = installation
        self._listener = listener
        self._account_listener = accounts
        self._apps: dict[str, dict[str, OAuthApp]] = {}
        self._people: dict[tuple[str, str], dict[str, UserCredential]] = {}
        self._tokens = Mirror(
            api,
            SECRETS,
            TokenSecret.from_kubernetes,
            namespace=installation.token_namespace,
            label_selector=f"{KIND_LABEL}=token",
            changed=self._token_changed,
        )
        self._accounts = Mirror(
            api,
            SECRETS,
            AccountSecret.from_kubernetes,
            namespace=installation.token_namespace,
            label_selector=f"{KIND_LABEL}=account",
            changed=self._account_changed,
        )
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._of_tenants = {namespace: self._of_tenant(api, namespace) for namespace in installation.watched}
        tenants = (mirror for each in self._of_tenants.values() for mirror in each.values())
        self.mirrors: list[Mirror[Any]] = [self._tokens, self._accounts, *tenants]

    def _of_tenant(self, api: Api, namespace: str | None) -> dict[str, Mirror[Any]]:
        parse = UserCredential.model_validate
        return {
            "apps": Mirror(api, OAUTH_APPS, OAuthApp.model_validate, namespace=namespace, changed=self._app_changed),
            "credentials": Mirror(api, USER_CREDENTIALS, parse, namespace=namespace, changed=self._credential_changed),
        }

    @property
    def synced(self) -> bool:
        """Whether every copy was filled once."""
        return all(mirror.synced.is_set() for mirror in self.mirrors)

    def as_of(self, namespace: str) -> dict[str, int]:
        """The newest change of each kind that decides about answers in this namespace."""
        return {kind: mirror.newest for kind, mirror in self._deciding(namespace).items()}

    def behind(self, namespace: str, as_of: Mapping[str, int]) -> bool:
        """Whether changes that another replica has told of may not have come here yet."""
        return any(mirror.reached < as_of.get(kind, 0) for kind, mirror in self._deciding(namespace).items())

    async def caught_up(self, namespace: str, as_of: Mapping[str, int]) -> None:
        """Wait until they have."""
        for kind, mirror in self._deciding(namespace).items():
            await mirror.reach(as_of.get(kind, 0))

    def _deciding(self, namespace: str) -> dict[str, Mirror[Any]]:
        tenant = self._of_tenants.get(namespace) or self._of_tenants.get(None) or {}
        return {"tokens": self._tokens, **tenant}

    def serves(self, namespace: str) -> bool:
        """Whether this is a tenant namespace."""
        return not self._installation.namespaces or namespace in self._installation.namespaces

    def apps(self, namespace: str) -> list[OAuthApp]:
        """The OAuthApps of a namespace."""
        return list(self._apps.get(namespace, {}).values())

    def token(self, credential: UserCredential) -> TokenSecret | None:
        """The token Secret of a credential, by its UID."""
        return self._tokens.get((self._installation.token_namespace, token_secret_name(credential.metadata.uid)))

    def find(self, workload: Workload, question: Question) -> list[Found]:
        """What there is for this person in the pod's namespace, and of apps that the pod may resolve."""
        return [self._found(app, question.username) for app in self._resolvable(workload, question.apps)]

    def accounts(self, workload: Workload, apps: frozenset[str] | None) -> list[tuple[OAuthApp, AccountSecret]]:
        """The service accounts of the apps that the pod may resolve."""
        found = [(app, self._account(app)) for app in self._resolvable(workload, apps)]
        return [(app, account) for app, account in found if account]

    def _account(self, app: OAuthApp) -> AccountSecret | None:
        return self._accounts.get((self._installation.token_namespace, account_secret_name(app.metadata.uid)))

    def tell_of_accounts(self) -> None:
        """Tell of all of them: a key came or went."""
        for namespace in {account.record.app.namespace for account in self._accounts.objects.values()}:
            self._account_listener(namespace)

    def _resolvable(self, workload: Workload, names: frozenset[str] | None) -> list[OAuthApp]:
        """Of these apps of the pod's namespace (None: all) those that the pod may resolve; the older first."""
        return [
            app
            for app in oldest_first(self.apps(workload.namespace))
            if may_resolve(app, workload.service_account) and (names is None or app.metadata.name in names)
        ]

    def _found(self, app: OAuthApp, username: str | None) -> Found:
        meta = app.metadata
        mine = self._people.get((meta.namespace, username), {}).values() if username is not None else ()
        credential = counting(one for one in mine if one.spec.oauth_app_ref.name == meta.name)
        return Found(
            app=app,
            data_source=data_source_of(app),
            authorize_url=self._installation.authorize_url(meta.namespace, meta.name),
            credential=credential,
            token=self.token(credential) if credential else None,
        )

    @contextmanager
    def watching(self, *credential_uids: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the token of one of these credentials changes."""
        event = asyncio.Event()
        for uid in credential_uids:
            self._waiting.setdefault(uid, set()).add(event)
        try:
            yield event
        finally:
            for uid in credential_uids:
                _forget(self._waiting, uid, event)

    def tell_of(self, affected: Callable[[TokenSecret], bool]) -> None:
        """Tell the listener of everybody whose token is affected by what happened elsewhere."""
        self._tell(
            {
                (token.record.credential.namespace, token.record.username)
                for token in self._tokens.objects.values()
                if affected(token)
            }
        )

    # --- changes

    def _token_changed(self, _: Key, new: TokenSecret | None, old: TokenSecret | None) -> None:
        for uid in {token.record.credential.uid for token in (new, old) if token}:
            for event in self._waiting.get(uid, ()):
                event.set()
        if _token_facts(new) != _token_facts(old):
            people = {(token.record.credential.namespace, token.record.username) for token in (new, old) if token}
            self._tell(people, rotated=_is_rotation(old, new))

    def _account_changed(self, _: Key, new: AccountSecret | None, old: AccountSecret | None) -> None:
        """Sealed anew with another key is no news."""
        if new and (old is None or old.record != new.record):
            self._account_listener(new.record.app.namespace)

    def _credential_changed(self, key: Key, new: UserCredential | None, old: UserCredential | None) -> None:
        namespace, name = key
        if old:
            _drop(self._people, (namespace, old.spec.username), name)
        if new:
            self._people.setdefault((namespace, new.spec.username), {})[name] = new
        if _credential_facts(new) != _credential_facts(old):
            self._tell({(namespace, credential.spec.username) for credential in (new, old) if credential})

    def _app_changed(self, key: Key, new: OAuthApp | None, old: OAuthApp | None) -> None:
        namespace, name = key
        if old:
            _drop(self._apps, namespace, name)
        if new:
            self._apps.setdefault(namespace, {})[name] = new
        if _app_facts(new) != _app_facts(old):
            self._tell({(namespace, None)})
            self._account_listener(namespace)

    def _tell(self, affected: set[tuple[str, str]] | set[tuple[str, None]], *, rotated: bool = False) -> None:
        for namespace, username in affected:
            self._listener(namespace, username, rotated=rotated)


def _forget(waiting: dict[str, set[asyncio.Event]], uid: str, event: asyncio.Event) -> None:
    waiting[uid].discard(event)
    if not waiting[uid]:
        del waiting[uid]


def _drop(index: dict[Any, dict[str, Any]], key: Any, name: str) -> None:
    objects = index.get(key, {})
    objects.pop(name, None)
    if not objects:
        index.pop(key, None)


def _token_facts(token: TokenSecret | None) -> Any:
    """Not the ciphertext itself: the same token sealed anew with another key is no news."""
    return token and (token.record, token.access_token is None)


def _is_rotation(old: TokenSecret | None, new: TokenSecret | None) -> bool:
    """Whether the same sign-in of the same person got a newer token."""
    if not (old and new and old.access_token and new.access_token):
        return False
    return _owner(old.record) == _owner(new.record) and old.record.revision < new.record.revision


def _owner(record: TokenRecord) -> Any:
    return record.credential, record.app, record.username, record.grant, record.subject


def _credential_facts(credential: UserCredential | None) -> Any:
    """Without the status: the controller and we ourselves write it."""
    return credential and (credential.metadata.uid, credential.metadata.deletion_timestamp, credential.spec)


def _app_facts(app: OAuthApp | None) -> Any:
    """Without the counts in the status."""
    return app and (app.metadata.uid, app.metadata.deletion_timestamp, app.spec, _said(app))


def _said(app: OAuthApp) -> list[str]:
    return [condition.status for condition in app.status.conditions if condition.type == "Ready"]

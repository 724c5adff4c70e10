"""Service accounts: whether a Secret may be copied, when a token is fetched, and what to write afterwards. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.lifecycle.apps import Problem
from cube_oauth.lifecycle.decide import origin
from cube_oauth.lifecycle.publish import LONGEST_LIFETIME, reference
from cube_oauth.lifecycle.timing import share
from cube_oauth.resources.accounts import AccountRecord, AccountSecret
from cube_oauth.resources.meta import Condition
from cube_oauth.resources.names import ACCOUNT_CONSENT_ANNOTATION
from cube_oauth.resources.secrets import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cube_oauth.resources.oauthapp import AccountReference, OAuthApp

CONDITION = "ServiceAccountReady"
EVENT = "ServiceAccount"
"""What the reasons of good news begin with, as Events."""

LATEST_PERCENT = 70
"""A token is fetched anew after this share of its lifetime at the latest: what Cube's pods find is good for a quarter of it."""

RETRY_PERCENT = 5
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)
"""A provider in trouble is asked again within so much of the last token's lifetime: one that is back soon gives the next."""

YOUNGEST_REJECTED = timedelta(seconds=30)
"""A token that the warehouse refuses is replaced no sooner after it was fetched: the next would hardly fare better."""

SOURCE_NOT_FOUND = Problem(
    "SourceNotFound",
    "There is no Secret {secret}, which spec.serviceAccount.secretRef names: create it, or correct the name. Until then the "
    "service account is withdrawn from Cube.",
)
SOURCE_NOT_CONSENTED = Problem(
    "SourceNotConsented",
    "The Secret {secret} does not consent to be used in this namespace: whoever owns it adds {namespace} to its annotation "
    f"{ACCOUNT_CONSENT_ANNOTATION}. Until then the service account is withdrawn from Cube.",
)
SOURCE_KEY_MISSING = Problem(
    "SourceKeyMissing",
    "The Secret {secret} has no text under the key {key}: add it, or correct spec.serviceAccount.env. Until then the service "
    "account is withdrawn from Cube.",
)
SOURCE_FORBIDDEN = Problem(
    "SourceForbidden",
    "The operator may not watch the Secret {secret}: add its name to the chart's serviceAccounts.sources. What was copied before "
    "stays in use.",
)
TARGET_TAKEN = Problem(
    "TargetTaken",
    "Somebody else made the Secret {target}, and it is not overwritten: rename or delete that Secret, or give this OAuthApp "
    "another name.",
)
TARGET_FORBIDDEN = Problem(
    "TargetForbidden",
    "The operator may not keep the Secret {target} in this namespace: set the chart's serviceAccounts.enabled, and if "
    "clientSecretNames is set, add {target} to it.",
)
PROBLEMS = (
    SOURCE_NOT_FOUND,
    SOURCE_NOT_CONSENTED,
    SOURCE_KEY_MISSING,
    SOURCE_FORBIDDEN,
    TARGET_TAKEN,
    TARGET_FORBIDDEN,
)
"""All that are not a client Secret's or the provider's; what stands in braces is filled in."""

WITHDRAWS = frozenset(one.reason for one in (SOURCE_NOT_FOUND, SOURCE_NOT_CONSENTED, SOURCE_KEY_MISSING))
"""The reasons after which the account may not be used any more."""

PUBLISHED = Problem(
    "Published", "Cube's pods read the service account from the Secret {target}; a change reaches running pods within a second."
)
NOT_WATCHED = Problem(
    "NotWatched",
    "Cube's pods read the service account from the Secret {target} when they start. The operator may not watch that Secret: add "
    "its name to the chart's serviceAccounts.sources, and a change reaches running pods within a second.",
)
DELAYED = Problem(
    "RefreshDelayed",
    "The service account's token has ended, and the provider gave no new one yet; it is tried again. Last: {detail}",
)
SAID = (PUBLISHED, NOT_WATCHED, DELAYED)


@dataclass(frozen=True)
class Source:
    """What is known of a Secret that an OAuthApp names."""

    secret: Mapping[str, Any] | None
    """None: there is none."""
    permitted: bool = True
    """Whether it may be watched."""


def about(problem: Problem, **words: str) -> Problem:
    """The problem with names in its sentence."""
    return replace(problem, message=problem.message.format(**words))


def foreign(app: OAuthApp, ref: AccountReference) -> bool:
    """Whether the Secret is another namespace's."""
    return ref.namespace not in (None, app.metadata.namespace)


def copied_values(app: OAuthApp, ref: AccountReference, env: Mapping[str, str], source: Source) -> dict[str, str] | Problem:
    """The value of each variable, or why the Secret is not used.

    One of another namespace must consent: else whoever may write an OAuthApp could read it through a pod.
    """
    name = f"{ref.namespace}/{ref.name}" if foreign(app, ref) else ref.name
    if not source.permitted:
        return about(SOURCE_FORBIDDEN, secret=name)
    if source.secret is None:
        return about(SOURCE_NOT_FOUND, secret=name)
    if foreign(app, ref) and app.metadata.namespace not in _consents(source.secret):
        return about(SOURCE_NOT_CONSENTED, secret=name, namespace=app.metadata.namespace)
    data = decode(dict(source.secret))
    missing = next((key for key in env.values() if not data.get(key)), None)
    if missing is not None:
        return about(SOURCE_KEY_MISSING, secret=name, key=missing)
    return {variable: data[key] for variable, key in env.items()}


def _consents(secret: Mapping[str, Any]) -> set[str]:
    annotations = secret["metadata"].get("annotations") or {}
    return {word.strip() for word in annotations.get(ACCOUNT_CONSENT_ANNOTATION, "").split(",") if word.strip()}


def asked(client_id: str, token_url: str, scopes: Sequence[str], parameters: Mapping[str, str]) -> str:
    """What a token is fetched for, as a hash."""
    text = json.dumps([client_id, origin(token_url), token_url, list(scopes), sorted(parameters.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def fetch_at(record: AccountRecord, percent: int) -> datetime:
    """When to fetch the next token: after ``percent`` of the lifetime, spread like users' refreshes, and never too late."""
    ends = record.expires_at or record.issued_at
    return share(record.issued_at, ends, min(percent, LATEST_PERCENT), record.app.uid, record.revision)


def due(app: OAuthApp, stored: AccountSecret | None, wanted: str, *, opens: bool) -> datetime | None:
    """When a token must be fetched; None: now, because there is none that serves. ``opens``: its key is there."""
    if stored is None or stored.values is None or not opens or stored.record.asked != wanted:
        return None
    usual = fetch_at(stored.record, app.spec.refresh.percent_of_lifetime)
    return min(usual, stored.record.issued_at + YOUNGEST_REJECTED) if rejected(app, stored) else usual


def rejected(app: OAuthApp, stored: AccountSecret) -> bool:
    """Whether a warehouse refused the token that there is: of each revision this is told once."""
    return app.status.demand is not None and app.status.demand.rejected_revision == stored.record.revision


def longest_pause(stored: AccountSecret | None) -> timedelta:
    """How long to wait at most until a provider in trouble is asked again."""
    if stored is None or stored.record.expires_at is None:
        return LONGEST_PAUSE
    lifetime = stored.record.expires_at - stored.record.issued_at
    return min(max(lifetime * RETRY_PERCENT / 100, SHORTEST_PAUSE), LONGEST_PAUSE)


def published(
    app: OAuthApp, stored: AccountSecret | None, variables: Iterable[str], now: datetime, target: str | None
) -> AccountSecret:
    """The Secret with other values than before; whoever has them seals them into it."""
    record = AccountRecord(
        app=reference(app.metadata),
        variables=tuple(sorted(variables)),
        revision=(stored.record.revision if stored else 0) + 1,
        issued_at=now,
        target=target,
    )
    return AccountSecret(record, None, stored.resource_version if stored else None)


def spread(stored: AccountSecret, variables: Iterable[str]) -> AccountSecret:
    """The Secret of a fetched token in other variables than before."""
    changes = {"variables": tuple(sorted(variables)), "revision": stored.record.revision + 1}
    return replace(stored, record=stored.record.model_copy(update=changes), values=None)


def fetched(secret: AccountSecret, wanted: str, expires_in: timedelta | None, default_seconds: int) -> AccountSecret:
    """The same for a token that a provider gave."""
    lifetime = min(max(expires_in or timedelta(seconds=default_seconds), timedelta(seconds=1)), LONGEST_LIFETIME)
    ends = secret.record.issued_at + lifetime
    return replace(secret, record=secret.record.model_copy(update={"asked": wanted, "expires_at": ends}))


def withdrawn(stored: AccountSecret, reason: str, now: datetime) -> AccountSecret:
    """The Secret of an account that may not be used any more: what it filled is remembered, so that it can be taken back."""
    changes = {"withdrawn": reason, "revision": stored.record.revision + 1, "issued_at": now, "asked": None, "expires_at": None}
    return replace(stored, record=stored.record.model_copy(update=changes), values=None)


def condition(app: OAuthApp, said: Problem, *, ready: bool) -> Condition:
    """What is said at the OAuthApp: nothing in it changes when a token is merely refreshed."""
    return Condition(
        type=CONDITION,
        status="True" if ready else "False",
        reason=said.reason,
        message=said.message,
        observed_generation=app.metadata.generation,
    )

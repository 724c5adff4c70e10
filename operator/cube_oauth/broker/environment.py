"""What service accounts fill in Cube's environment. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cube_oauth.resources.accounts import AccountSecret, values_from_text
from cube_oauth.resources.keyring import SealError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cube_oauth.resources.keyring import Keyring

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Environment:
    """The variables, by name."""

    values: dict[str, str | None] = field(default_factory=dict)
    """None: withdrawn."""
    revisions: dict[str, int] = field(default_factory=dict)
    """Of which token each is, of those that can be fetched anew when the warehouse refuses them."""

    def to_json(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {"values": self.values, **({"revisions": self.revisions} if self.revisions else {})}


def filled(accounts: Iterable[AccountSecret], ring: Keyring) -> Environment:
    """What these fill together; of two that fill one variable the first counts."""
    found = Environment()
    for account in accounts:
        for name, value in variables(account, ring).items():
            if name not in found.values:
                found.values[name] = value
                if account.record.asked is not None:
                    found.revisions[name] = account.record.revision
    return found


def unopened(account: AccountSecret, ring: Keyring) -> bool:
    """Whether its key has not come here yet."""
    return account.values is not None and ring.kid_of(account.values) is None


def variables(account: AccountSecret, ring: Keyring) -> dict[str, str | None]:
    """Value by name; None for each when the account was withdrawn, nothing at all when it cannot be opened here."""
    if account.values is None:
        return dict.fromkeys(account.record.variables)
    try:
        return {**values_from_text(ring.open(account.values, account.record.owner).get_secret_value())}
    except SealError:
        app = account.record.app
        log.warning("a service account cannot be opened", extra={"namespace": app.namespace, "app": app.name})
        return {}

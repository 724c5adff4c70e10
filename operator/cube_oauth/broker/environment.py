"""What a service account fills in Cube's environment. Pure."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cube_oauth.resources.accounts import AccountSecret, values_from_text
from cube_oauth.resources.keyring import SealError

if TYPE_CHECKING:
    from cube_oauth.resources.keyring import Keyring

log = logging.getLogger(__name__)


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

"""The kinds that this project serves, and their CustomResourceDefinitions (``make crds`` writes them to ``crds/``)."""

from __future__ import annotations

from typing import Any

from cube_oauth.resources.names import CATEGORY, GROUP, VERSION
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.schema import Column, Kind
from cube_oauth.resources.usercredential import UserCredential

OAUTH_APPS = Kind(
    OAuthApp,
    plural="oauthapps",
    short="oapp",
    columns=(
        Column("Provider", ".spec.provider.name"),
        Column("Data Source", ".status.dataSource"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Active", ".status.credentials.active", "integer"),
        Column("Expired", ".status.credentials.expired", "integer"),
        Column("Pending", ".status.credentials.pending", "integer", priority=1),
        Column("Revoked", ".status.credentials.revoked", "integer", priority=1),
        Column("Redirect URI", ".status.redirectURI", priority=1),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)
USER_CREDENTIALS = Kind(
    UserCredential,
    plural="usercredentials",
    short="ucred",
    columns=(
        Column("Username", ".spec.username"),
        Column("App", ".spec.oauthAppRef.name"),
        Column("State", ".status.state"),
        Column("Reason", ".status.conditions[?(@.type=='Active')].reason"),
        # no dates: kubectl shows how long ago they were, and nothing of what is to come
        Column("Expires", ".status.expiresAt"),
        Column("Sign-In Ends", ".status.signInEndsAt"),
        Column("Refresh At", ".status.refreshAt", priority=1),
        Column("Last Used", ".status.demand.lastUsedAt", "date", priority=1),
        Column("Revision", ".status.revision", "integer", priority=1),
        Column("Message", ".status.conditions[?(@.type=='Active')].message", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
)
KINDS = (OAUTH_APPS, USER_CREDENTIALS)


def crds() -> dict[str, dict[str, Any]]:
    """File name → CustomResourceDefinition."""
    return {f"{GROUP}_{kind.plural}.yaml": kind.crd(GROUP, VERSION, CATEGORY) for kind in KINDS}

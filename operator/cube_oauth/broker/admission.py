"""What the webhook says about a pod: ``injection.inject`` with the OAuthApps of the pod's namespace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cube_oauth.injection.facts import App
from cube_oauth.injection.inject import Injection, inject
from cube_oauth.providers.endpoints import account_env, data_source_of

if TYPE_CHECKING:
    from cube_oauth.broker.files import Certificate
    from cube_oauth.broker.metrics import Metrics
    from cube_oauth.broker.owners import Owners
    from cube_oauth.broker.world import World
    from cube_oauth.injection.facts import Settings


class NotReadyError(Exception):
    """The cluster has not been read yet."""


@dataclass(frozen=True)
class Admission:
    """Reviews pods."""

    world: World
    settings: Settings
    certificate: Certificate
    metrics: Metrics
    owners: Owners

    def review(self, pod: dict[str, Any], namespace: str, *, dry_run: bool = False) -> Injection:
        """What to change in a pod, or why it must not be created. Raises NotReadyError. A dry run is told to nobody."""
        if not self.world.synced:
            raise NotReadyError("the broker has not read the cluster yet; try again")
        apps = [App.of(app, data_source_of(app), account_env(app)) for app in self.world.apps(namespace)]
        injection = inject(pod, replace(self.settings, ca=self.certificate.ca), apps)
        self.metrics.admissions.labels(injection.reason).inc()
        if not dry_run:
            self.owners.tell(pod, namespace, injection)
        return injection

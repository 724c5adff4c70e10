"""The body of an Event (events.k8s.io/v1). Pure."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal

from cube_oauth.resources.names import GROUP

if TYPE_CHECKING:
    from datetime import datetime

    from cube_oauth.kube.api import Object

LONGEST_NOTE = 1024


def event(
    regarding: Object, kind: Literal["Normal", "Warning"], reason: str, note: str, *, now: datetime, process: str, identity: str
) -> Object:
    """About one object (apiVersion, kind, namespace, name, uid), said by one of our processes."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{regarding['name'][:200].rstrip('-.')}.{uuid.uuid4().hex[:16]}",
            "namespace": regarding["namespace"],
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": kind,
        "reason": reason,
        "action": reason,
        "note": note[:LONGEST_NOTE],
        "regarding": regarding,
        "reportingController": f"{GROUP}/{process}",
        "reportingInstance": identity[:128],
    }

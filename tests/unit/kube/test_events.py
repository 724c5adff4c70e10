"""The body of an Event."""

import re
from datetime import UTC, datetime

import pytest

from cube_oauth.kube.events import event

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""Kubernetes, "DNS Subdomain Names"."""


@pytest.mark.parametrize("name", ["cube", f"{'a' * 199}-b", f"{'a' * 199}.b", f"{'a' * 198}-.b", "a" * 253])
def test_its_name_is_valid_however_long_the_name_of_what_it_is_about(name):
    regarding = {"name": name, "namespace": "team"}
    made = event(regarding, "Warning", "Reason", "Note.", now=datetime.now(UTC), process="broker", identity="x")
    assert SUBDOMAIN.fullmatch(made["metadata"]["name"])
    assert len(made["metadata"]["name"]) <= 253

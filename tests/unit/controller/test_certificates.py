"""What is renewed when: a pure decision."""

import asyncio
from datetime import timedelta
from unittest.mock import Mock

import pytest

from cube_oauth.controller import x509
from cube_oauth.controller.certificates import Certificates, Plan, plan
from cube_oauth.controller.settings import Settings
from cube_oauth.controller.x509 import Issued
from cube_oauth.kube.api import SECRETS
from cube_oauth.resources.secrets import decode, encode
from cube_oauth.settings import Installation
from tests.unit.controller.clocks import START as NOW
from tests.unit.controller.clocks import StoppedClock, settle
from tests.unit.controller.fakes import FakeApi

NAMES = ("co-broker.system.svc", "co-broker.system")
DAY = timedelta(days=1)


def authority(age):
    return Issued(NOW - age * DAY, NOW + (730 - age) * DAY, (), "current")


def leaf(age, *, names=NAMES, signed_by="current"):
    return Issued(NOW - age * DAY, NOW + (30 - age) * DAY, names, signed_by)


@pytest.mark.parametrize(
    ("what", "known", "trusted", "expected"),
    [
        ("at first both", (None, None), (), Plan(authority=True, leaf=True)),
        ("while both are young neither", (authority(100), leaf(5)), ("current",), Plan(authority=False, leaf=False)),
        ("a leaf after two thirds of its life", (authority(100), leaf(20)), ("current",), Plan(authority=False, leaf=True)),
        ("an authority after two thirds of its life", (authority(500), leaf(5)), ("current",), Plan(authority=True, leaf=False)),
        ("a missing leaf", (authority(100), None), ("current",), Plan(authority=False, leaf=True)),
        ("an ended leaf, whatever the authority's age", (authority(0), leaf(30)), ("current",), Plan(authority=False, leaf=True)),
        ("a leaf for other names", (authority(100), leaf(5, names=("x",))), ("current",), Plan(authority=False, leaf=True)),
        ("a leaf of a stranger", (authority(100), leaf(5, signed_by="x")), ("current",), Plan(authority=False, leaf=True)),
        (
            "no leaf from an authority that nobody has heard of yet",
            (authority(0), leaf(20, signed_by="previous")),
            ("current", "previous"),
            Plan(authority=False, leaf=False),
        ),
        (
            "a leaf of the previous authority serves on",
            (authority(2), leaf(5, signed_by="previous")),
            ("current", "previous"),
            Plan(authority=False, leaf=False),
        ),
        (
            "and is renewed from the new one in its time",
            (authority(2), leaf(20, signed_by="previous")),
            ("current", "previous"),
            Plan(authority=False, leaf=True),
        ),
    ],
)
def test_what_is_renewed(what, known, trusted, expected):
    assert plan(*known, NAMES, trusted, NOW) == expected


def test_what_was_made_is_read_again():
    certificate, key = x509.new_authority(NOW, 730 * DAY)
    made = x509.new_leaf(certificate, key, NAMES, NOW, 30 * DAY)
    found = x509.read(*made)
    assert set(found.names) == set(NAMES)
    assert found.signed_by == x509.fingerprints(certificate)[0]
    assert found.not_after == NOW + 30 * DAY


@pytest.mark.parametrize("mangled", [None, "", "garbage"])
def test_what_cannot_be_read_counts_as_missing(mangled):
    certificate, key = x509.new_authority(NOW, 730 * DAY)
    assert x509.read(mangled, key) is None
    assert x509.read(certificate, mangled) is None
    assert x509.fingerprints(mangled) == ()


def test_a_key_of_another_certificate_counts_as_missing():
    certificate, _ = x509.new_authority(NOW, 730 * DAY)
    _, key = x509.new_authority(NOW, 730 * DAY)
    assert x509.read(certificate, key) is None


class World:
    def __init__(self, **authority):
        self.api, installation = FakeApi(), Installation("co", "system", "tokens", ("team",), "https://portal.example.com")
        self.certificates = Certificates(self.api, Settings(installation, "me", "co-broker", None, ("", 0), 1), StoppedClock())
        body = {"metadata": {"name": "co-ca", "namespace": "system"}, "data": encode(authority)}
        self.api.store(SECRETS.path("system", "co-ca"), body)

    def served(self):
        return decode(self.api.objects.get(SECRETS.path("system", "co-broker-tls"), {}))


@pytest.mark.parametrize("trusted_before", [None, "", "garbage", x509.new_authority(NOW, 730 * DAY)[0]])
async def test_an_authority_that_somebody_else_put_there_signs_and_is_trusted_as_well(trusted_before):
    certificate, key = x509.new_authority(NOW, 730 * DAY)
    world = World(**{"ca.crt": certificate, "ca.key": key, **({} if trusted_before is None else {"bundle": trusted_before})})
    await world.certificates.reconcile()
    served = world.served()
    [mine] = x509.fingerprints(certificate)
    assert x509.fingerprints(served["ca.crt"]) == (mine, *x509.fingerprints(trusted_before))
    assert x509.read(served["tls.crt"], served["tls.key"]).signed_by == mine
    writes = len(world.api.writes)
    await world.certificates.reconcile()
    assert len(world.api.writes) == writes


async def test_an_authority_that_cannot_sign_for_us_is_said_and_does_not_end_the_controller(caplog, monkeypatch):
    certificate, key = x509.new_authority(NOW, 730 * DAY)
    monkeypatch.setattr(x509, "new_leaf", Mock(side_effect=ValueError("the authority's key is not on an elliptic curve")))
    running = asyncio.create_task(World(**{"ca.crt": certificate, "ca.key": key}).certificates.run())
    await settle()
    assert not running.done()
    assert "certificates were not looked after" in caplog.text
    running.cancel()

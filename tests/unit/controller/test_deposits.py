"""Client secrets on their way from the portal: in whatever order they are looked at, the one that was typed last stays."""

import itertools
from datetime import timedelta

import pytest
from pydantic import SecretStr

from cube_oauth.controller.deposits import Deposits
from cube_oauth.controller.keys import Keys
from cube_oauth.kube.api import OAUTH_APPS, SECRETS, KubeError
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.meta import rfc3339
from cube_oauth.resources.secrets import ClientDeposit, Reference, decode, deposit_secret
from tests.unit.controller.clocks import START, StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import app


class FakeTrials:
    def __init__(self):
        self.faults, self.ran = [], 0

    async def run(self, app, problem):
        self.ran += 1
        if self.faults:
            raise self.faults.pop()


class Bench:
    def __init__(self):
        self.api, self.trials = FakeApi(), FakeTrials()
        self.keys = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
        made = app(clientSecretRef={"name": "client"})
        self.api.store(OAUTH_APPS.path("team", "trino"), {"metadata": made.metadata.to_json(), "spec": made.spec.to_json()})
        self.deposits = Deposits(
            self.api, "tokens", self.keys, None, StoppedClock(), lambda key: None, lambda app: None, self.trials
        )

    def typed(self, value, ago, skew=timedelta(0)):
        """``skew``: what a portal's clock says is of no importance."""
        deposit = ClientDeposit(
            app=Reference(namespace="team", name="trino", uid="uid-app"),
            secret_name="client",
            key="clientSecret",
            value=value,
            issued_at=START - skew,
        )
        sealed = self.keys.grant.seal(SecretStr(deposit.model_dump_json(by_alias=True)))
        body = deposit_secret(f"client-{value}", "tokens", sealed)
        body["metadata"] |= {"uid": value, "creationTimestamp": rfc3339(START - ago)}
        self.deposits.mirror.put(self.api.store(SECRETS.path("tokens", f"client-{value}"), body))
        return "tokens", f"client-{value}"

    def placed(self):
        return decode(self.api.objects[SECRETS.path("team", "client")])["clientSecret"]


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
async def test_of_several_that_waited_for_a_controller_the_last_one_stays(bench, order):
    several = (("wrong", 3), ("wrong-too", 2), ("right", 1))
    keys = [bench.typed(value, timedelta(minutes=ago), skew=timedelta(minutes=4 - ago)) for value, ago in several]
    for number in order:
        await bench.deposits.reconcile(keys[number])
    assert bench.placed() == "right"
    assert [path for path in bench.api.objects if path.startswith(SECRETS.path("tokens"))] == []


async def test_one_whose_trial_has_to_be_tried_again_does_not_replace_what_was_typed_meanwhile(bench):
    wrong = bench.typed("wrong", timedelta(minutes=2))
    bench.trials.faults = [KubeError(0, "TimeoutError", "PATCH")]
    with pytest.raises(KubeError):
        await bench.deposits.reconcile(wrong)
    await bench.deposits.reconcile(bench.typed("right", timedelta(minutes=1)))
    await bench.deposits.reconcile(wrong)
    assert (bench.placed(), bench.trials.ran) == ("right", 3)

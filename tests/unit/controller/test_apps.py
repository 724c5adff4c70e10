"""What requests showed about a provider and a client, and whose client an old token is."""

import base64

import pytest

from cube_oauth.controller.apps import FORMER, TROUBLE, Apps
from cube_oauth.controller.inventory import Inventory
from cube_oauth.kube.api import OAUTH_APPS, SECRETS
from cube_oauth.providers import Kind, ProviderError
from cube_oauth.resources.meta import Condition
from cube_oauth.resources.oauthapp import ClientAuthentication, OAuthApp, SecretKeyReference
from cube_oauth.resources.secrets import Reference
from cube_oauth.settings import Installation
from tests.unit.controller.clocks import StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import TOKEN_URL, app, token

KEY = ("team", "trino")
CLIENT = SecretKeyReference(name="client")
DOWN = ProviderError(Kind.WEATHER, "ProviderUnavailable", "It is down.")
WRONG = ProviderError(Kind.APP, "InvalidClient", "Wrong secret.")


class Events:
    def __init__(self):
        self.told = []

    def warning(self, kind, meta, reason, note):
        self.told.append(reason)

    normal = warning


class Bench:
    def __init__(self):
        self.api, self.clock, self.inventory, self.events, self.calls = FakeApi(), StoppedClock(), Inventory(), Events(), []
        installation = Installation("co", "system", "tokens", ("team",), "https://portal.example.com")
        self.apps = Apps(
            self.api,
            installation,
            self.inventory,
            None,
            self.events,
            self.clock,
            schedule=lambda key, when: self.calls.append("look"),
            changed=lambda key: self.calls.append("changed"),
            saw=lambda app: self.inventory.take_app(app) and self.calls.append("saw"),
        )
        self.secret("first")

    def secret(self, value, consent="trino"):
        labels = {"cubeoauth.dev/oauth-client": consent}
        data = {"clientSecret": base64.b64encode(value.encode()).decode()}
        self.api.store(SECRETS.path("team", "client"), {"metadata": {"name": "client", "labels": labels}, "data": data})

    async def look(self):
        """At the app, as it is stored."""
        made = app(clientSecretRef={"name": "client"}, revocationURL="https://idp.example.com/revoke")
        known = self.api.objects.get(OAUTH_APPS.path("team", "trino"))
        if known is None:
            known = self.api.store(
                OAUTH_APPS.path("team", "trino"), {"metadata": made.metadata.to_json(), "spec": made.spec.to_json()}
            )
        self.inventory.take_app(OAuthApp.model_validate(known))
        await self.apps.reconcile(KEY)
        return {one.type: (one.status, one.reason) for one in self.inventory.apps[KEY].status.conditions}

    def gone(self):
        self.inventory.drop_app(KEY)
        self.api.objects.clear()


@pytest.fixture
async def bench():
    made = Bench()
    await made.look()
    return made


async def test_what_the_broker_writes_into_the_status_is_no_reason_to_write_it_anew(bench):
    path = OAUTH_APPS.path("team", "trino")
    stored = bench.api.objects[path]
    bench.api.store(path, {**stored, "status": {**stored["status"], "demand": {"rejectedRevision": 4}}})
    before = len(bench.api.writes)
    for _ in range(3):
        await bench.look()
    assert len(bench.api.writes) == before


@pytest.mark.parametrize("meanwhile", [{"status": {"demand": {"rejectedRevision": 4}}}, {"spec": {"clientID": "another"}}])
async def test_what_others_write_while_the_status_is_written_is_looked_at(bench, meanwhile):
    path = OAUTH_APPS.path("team", "trino")

    def write():
        bench.api.before_write = lambda: None
        stored = bench.api.objects[path]
        bench.api.store(path, {**stored, **{part: {**stored[part], **change} for part, change in meanwhile.items()}})

    bench.api.before_write = write
    for _ in range(TROUBLE):
        bench.apps.in_trouble(KEY, DOWN)
    assert "ProviderAvailable" in await bench.look()
    assert bench.calls.count("saw") == 1
    bench.apps.answered(KEY)
    assert "ProviderAvailable" not in await bench.look()
    assert bench.calls.count("saw") == 1, "an answer to a write of ours alone is no news"


async def test_nothing_is_remembered_of_apps_that_are_gone_or_never_were_whose_credentials_are_looked_at(bench):
    bench.gone()
    await bench.apps.reconcile(KEY)
    for key in (KEY, ("team", "mistyped")):
        assert bench.apps.not_before(key, ("team", "alice")) is None
    assert [len(known) for known in bench.apps._memory] == [0] * len(bench.apps._memory)


async def test_a_single_failure_is_no_news_and_three_in_a_row_are_said_until_the_first_success(bench):
    for _ in range(2):
        bench.apps.in_trouble(KEY, DOWN)
    assert "ProviderAvailable" not in await bench.look()
    bench.apps.in_trouble(KEY, DOWN)
    assert (await bench.look())["ProviderAvailable"] == ("False", "ProviderUnavailable")
    assert (await bench.look())["Ready"] == ("True", "Ready")
    bench.apps.answered(KEY)
    assert "ProviderAvailable" not in await bench.look()


async def test_an_app_that_was_created_anew_under_its_name_inherits_nothing(bench):
    for _ in range(TROUBLE):
        bench.apps.in_trouble(KEY, DOWN)
    bench.apps.tried(KEY, Condition(type="Tried", status="True", reason="Worked", message="m"))
    assert {"ProviderAvailable", "Tried"} <= (await bench.look()).keys()
    path = OAUTH_APPS.path("team", "trino")
    stored = bench.api.objects[path]
    bench.api.store(path, {"metadata": {**stored["metadata"], "uid": "another"}, "spec": stored["spec"]})
    assert (await bench.look()).keys() == {"Ready"}


async def test_failures_that_are_interrupted_by_a_success_are_no_trouble(bench):
    for _ in range(10):
        bench.apps.in_trouble(KEY, DOWN)
        bench.apps.in_trouble(KEY, DOWN)
        bench.apps.answered(KEY)
    assert "ProviderAvailable" not in await bench.look()


SCOPE = ProviderError(Kind.APP, "InvalidScope", "Not granted.")
ALICE, BOB, CAROL = (("team", f"trino-{name}") for name in ("alice", "bob", "carol"))


async def test_a_refusal_right_after_an_acceptance_is_about_one_credential_and_a_second_in_a_row_about_the_app(bench):
    await bench.look()
    assert not bench.apps.blames_one(KEY, SCOPE, ALICE)
    for _ in range(3):
        bench.apps.accepted(KEY)
        assert bench.apps.blames_one(KEY, SCOPE, ALICE)
    assert not bench.apps.blames_one(KEY, SCOPE, ALICE)


async def test_a_refused_client_is_the_apps_whoever_was_accepted_before(bench):
    await bench.look()
    bench.apps.accepted(KEY)
    assert not bench.apps.blames_one(KEY, WRONG, ALICE)


async def test_whoever_was_refused_alone_is_no_news_of_the_app_a_second_time(bench):
    bench.apps.refused(KEY, WRONG, ALICE)
    bench.apps.accepted(KEY, BOB)
    assert bench.apps.blames_one(KEY, WRONG, ALICE)
    bench.apps.accepted(KEY, BOB)
    assert not bench.apps.blames_one(KEY, WRONG, CAROL)


async def test_whoever_is_accepted_after_all_was_not_refused_alone(bench):
    bench.apps.refused(KEY, WRONG, ALICE)
    bench.apps.accepted(KEY, ALICE)
    assert not bench.apps.blames_one(KEY, WRONG, ALICE)


async def test_an_acceptance_of_the_client_as_it_was_says_nothing_of_it_as_it_is(bench):
    await bench.look()
    bench.apps.accepted(KEY)
    bench.secret("second")
    await bench.look()
    assert not bench.apps.blames_one(KEY, SCOPE, ALICE)
    assert not bench.apps.blames_person(KEY, "uid-1")


async def test_a_refused_client_is_said_at_the_app_and_heals_with_the_secret(bench):
    bench.apps.refused(KEY, WRONG, ALICE)
    assert (await bench.look())["Ready"] == ("False", "InvalidClient")
    assert bench.apps.ready(KEY)  # its credentials are left alone
    assert bench.apps.not_before(KEY, ALICE) > bench.clock.now()
    bench.secret("corrected")
    bench.calls.clear()
    assert (await bench.look())["Ready"] == ("True", "Ready")
    assert bench.apps.not_before(KEY, ALICE) is None
    assert "changed" in bench.calls


async def test_one_whom_the_provider_refuses_holds_up_nobody_else_and_two_are_the_apps_fault(bench):
    bench.apps.refused(KEY, WRONG, ALICE)
    bench.apps.refused(KEY, WRONG, ALICE)
    assert bench.apps.not_before(KEY, BOB) is None
    bench.apps.refused(KEY, WRONG, BOB)
    assert bench.apps.not_before(KEY, CAROL) == bench.apps.not_before(KEY, ALICE) > bench.clock.now()
    bench.apps.accepted(KEY, CAROL)
    assert bench.apps.not_before(KEY, ALICE) is None


async def test_a_refused_sign_in_is_said_at_the_app_and_holds_up_no_refresh(bench):
    for _ in range(3):
        bench.apps.refused(KEY, WRONG)
    assert (await bench.look())["Ready"] == ("False", "InvalidClient")
    assert bench.apps.not_before(KEY, ALICE) is None


async def test_where_the_provider_accepts_the_client_one_persons_refused_sign_ins_are_that_persons_and_two_peoples_the_apps(bench):
    await bench.look()
    assert not bench.apps.blames_person(KEY, "uid-1")
    bench.apps.accepted(KEY)
    assert [bench.apps.blames_person(KEY, uid) for uid in ("uid-1", "uid-1", "uid-2", "uid-1")] == [True, True, False, True]
    bench.apps.accepted(KEY)
    assert bench.apps.blames_person(KEY, "uid-2")


async def test_a_refusal_that_nobody_repeats_lapses_so_that_people_can_connect_again(bench):
    bench.apps.refused(KEY, WRONG)
    await bench.clock.turn(minutes=2)
    assert (await bench.look())["Ready"] == ("False", "InvalidClient")
    await bench.clock.turn(minutes=1)
    assert (await bench.look())["Ready"] == ("True", "Ready")


async def test_several_refusals_of_requests_that_were_under_way_together_count_as_one(bench):
    bench.apps.refused(KEY, WRONG, ALICE)
    first = bench.apps.not_before(KEY, ALICE)
    for _ in range(7):
        bench.apps.refused(KEY, WRONG, BOB)
    assert bench.apps.not_before(KEY, ALICE) == first


async def test_the_client_of_a_token_is_the_one_that_the_app_has_now(bench):
    bench.secret("second")
    await bench.clock.turn(minutes=2)
    client = await bench.apps.client_of(token().record)
    assert client.credentials.secret.get_secret_value() == "second"


async def test_when_the_app_and_its_secret_are_gone_it_is_the_one_that_was_known_last(bench):
    bench.gone()
    await bench.apps.reconcile(KEY)
    client = await bench.apps.client_of(token().record)
    assert (client.credentials.client_id, client.credentials.secret.get_secret_value()) == ("cube", "first")


@pytest.mark.parametrize(
    ("what", "record"),
    [
        ("another client ID", {"client_id": "former"}),
        ("another token endpoint", {"token_url": "https://elsewhere.example.com/token"}),
        ("another app of this name", {"app": Reference(namespace="team", name="trino", uid="another")}),
    ],
)
async def test_a_client_is_nobody_elses(bench, what, record):
    assert await bench.apps.client_of(token(**record).record) is None


async def test_a_controller_that_was_away_takes_the_secret_that_was_left_behind_if_it_consents():
    bench = Bench()
    record = token(client_secret=CLIENT, client_authentication="post").record
    client = await bench.apps.client_of(record)
    assert client.credentials.secret.get_secret_value() == "first"
    assert client.endpoints.client_authentication is ClientAuthentication.POST
    assert client.endpoints.token_url == TOKEN_URL
    bench.secret("first", consent="another")
    assert await bench.apps.client_of(record) is None


async def test_not_more_former_clients_are_remembered_than_needed(bench):
    for number in range(2 * FORMER):
        changed = app(clientID=f"client-{number}", clientSecretRef={"name": "client"})
        bench.inventory.apps[KEY] = changed.model_copy(
            update={"metadata": changed.metadata.model_copy(update={"generation": number})}
        )
        await bench.apps.client(KEY)
    assert len(bench.apps._clients) <= FORMER


async def test_old_sidecars_are_said_at_the_app_until_there_are_none(bench):
    assert "SidecarsCurrent" not in await bench.look()
    bench.calls.clear()
    bench.apps.sidecars("team", {KEY: "Old."})
    assert bench.calls == ["look"]
    assert (await bench.look())["SidecarsCurrent"] == ("False", "OutdatedSidecar")
    bench.apps.sidecars("team", {KEY: "Old."})
    bench.apps.sidecars("another", {})
    assert bench.calls == ["look"], "the same again is no news"
    bench.apps.sidecars(None, {})
    assert "SidecarsCurrent" not in await bench.look()


async def test_a_controller_that_has_not_looked_yet_leaves_what_the_status_says_of_sidecars(bench):
    bench.apps.sidecars("team", {KEY: "Old."})
    await bench.look()
    after_a_restart = Apps(
        bench.api,
        bench.apps._installation,
        bench.inventory,
        None,
        bench.events,
        bench.clock,
        schedule=lambda key, when: bench.calls.append("look"),
        changed=lambda key: None,
        saw=None,
    )
    writes = len(bench.api.writes)
    await after_a_restart.reconcile(KEY)
    assert len(bench.api.writes) == writes
    bench.calls.clear()
    after_a_restart.sidecars("team", {KEY: "Old."})
    assert bench.calls == []
    await after_a_restart.reconcile(KEY)
    assert len(bench.api.writes) == writes
    after_a_restart.sidecars("team", {})
    await after_a_restart.reconcile(KEY)
    assert len(bench.api.writes) == writes + 1

import asyncio
import dataclasses
import logging
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from cube_oauth.kube.api import CONFIG_MAPS, OAUTH_APPS, USER_CREDENTIALS
from cube_oauth.portal.addresses import Allowed
from cube_oauth.portal.cookies import LARGEST
from cube_oauth.portal.session import PENDING_COOKIE
from cube_oauth.resources.keyring import SealingKey
from cube_oauth.resources.names import credential_name

from .conftest import ORIGIN, app_of, credential_of, refused

ISSUER = "https://idp.example.com"
HOSTILE = "<script>alert(1)</script> call 555-0199 now"
CALLBACK = "/callback/analytics/trino"


async def back(browser, state, path=CALLBACK, **query):
    return await browser.get(path, params={"state": state, **query})


@pytest.fixture
def alice(browser, world):
    world.add_app()
    return browser.log_in("alice", ["analysts"])


def sent_to(answer):
    """Where the page that leads away leads."""
    url = answer.html.partition('content="0; url=')[2].partition('"')[0].replace("&amp;", "&")
    return urlsplit(url), {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


async def test_the_way_to_the_provider(alice):
    answer = await alice.post("/connect/analytics/trino")
    url, query = sent_to(answer)
    (pending,) = alice.pending
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{ISSUER}/authorize"
    assert query["redirect_uri"] == f"{ORIGIN}/callback/analytics/trino"
    assert query["state"] == pending.state
    assert query["nonce"] == pending.nonce
    assert query["code_challenge_method"] == "S256"
    assert pending.verifier not in answer.html
    assert (query["client_id"], query["response_type"], query["scope"]) == ("client", "code", "openid query")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "form-action 'self';" in answer.headers["Content-Security-Policy"]


async def test_what_an_app_says_about_its_requests_is_kept(alice, world):
    parameters = {"authorizationParameters": {"prompt": "consent", "state": "mine"}, "scopes": ["query"]}
    world.add_app(spec={"pkce": False}, status=parameters)
    answer = await alice.post("/connect/analytics/trino")
    _, query = sent_to(answer)
    assert query["prompt"] == "consent"
    assert query["state"] == alice.pending[0].state
    assert {"nonce", "code_challenge"}.isdisjoint(query)


async def test_scopes_are_separated_as_the_provider_wants_it(alice, world):
    world.add_app(spec={"scopeSeparator": "Comma"}, status={"scopes": ["read", "write"]})
    _, query = sent_to(await alice.post("/connect/analytics/trino"))
    assert query["scope"] == "read,write"


async def test_nothing_is_made_in_the_cluster_before_the_provider_has_answered(alice, world):
    before = dict(world.api.objects)
    await alice.begin()
    assert world.api.objects == before
    assert world.api.calls == []


async def test_a_person_connects(alice, world, caplog):
    world.controller(state="Active", revision=1, subject="alice@idp")
    state = await alice.begin()
    pending = alice.pending[0]
    with caplog.at_level(logging.INFO, "cube_oauth.audit"):
        answer = await back(alice, state, code="the-code", iss=ISSUER)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    (grant,), (credential,) = world.grants(), world.credentials()
    assert credential["metadata"]["name"] == credential_name("trino", "alice")
    assert credential["spec"] == {"username": "alice", "oauthAppRef": {"name": "trino"}}
    assert (grant.username, grant.groups, grant.code) == ("alice", ("analysts",), "the-code")
    assert (grant.code_verifier, grant.nonce) == (pending.verifier, pending.nonce)
    assert (grant.credential.uid, grant.app.uid) == (credential["metadata"]["uid"], "uid-trino")
    assert (grant.token_url, grant.client_id) == (f"{ISSUER}/token", "client")
    assert grant.redirect_uri == f"{ORIGIN}/callback/analytics/trino"
    assert grant.issued_at == world.now
    first, second = await alice.get("/"), await alice.get("/")
    assert "trino is connected" in first.html
    assert "trino is connected" not in second.html
    (record,) = caplog.records
    assert (record.message, record.username, record.app, record.outcome) == ("connected", "alice", "trino", "ok")
    everything = str([vars(record) for record in caplog.records])
    for hidden in ("the-code", state, pending.verifier, pending.nonce):
        assert hidden not in everything


async def test_the_sealed_grant_cannot_be_read_from_outside(alice, world):
    await back(alice, await alice.begin(), code="the-code")
    (secret,) = [body for (plural, *_), body in world.api.objects.items() if plural == "secrets"]
    assert secret["type"] == "cubeoauth.dev/grant"
    assert secret["metadata"]["namespace"] == "cube-oauth-tokens"
    assert "the-code" not in str(secret)


async def test_the_portal_reads_no_secret(alice, world):
    await back(alice, await alice.begin(), code="c")
    await alice.post("/disconnect/analytics/trino")
    assert {verb for verb, kind in world.api.calls if kind == "secrets"} == {"create"}


async def test_a_slow_controller_is_no_failure(alice, world):
    answer = await back(alice, await alice.begin(), code="c")
    assert answer.status == 303
    assert "is being made" in (await alice.get("/")).html


async def test_reconnecting_waits_for_a_newer_revision(alice, world):
    world.add_credential(status={"state": "Active", "revision": 4})
    answer = await back(alice, await alice.begin(), code="c")
    assert answer.status == 303
    assert "is being made" in (await alice.get("/")).html
    world.controller(state="Active", revision=5)
    await back(alice, await alice.begin(), code="d")
    assert "is connected" in (await alice.get("/")).html


async def test_what_the_controller_says_against_a_grant_is_shown(alice, world):
    said = {"type": "Authorized", "status": "False", "reason": "SubjectDiffers"}
    world.controller(state="Pending", conditions=[said])
    answer = await back(alice, await alice.begin(), code="c")
    assert (answer.status, refused(answer)) == (502, "GrantRefused")
    assert "The person at the provider is another one" in answer.html
    assert "/connect/analytics/trino" in answer.html


@pytest.mark.parametrize(
    "status",
    [
        {"state": "Active", "revision": 7},
        {"state": "Revoked", "conditions": [{"type": "Authorized", "status": "False", "reason": "SubjectDiffers"}]},
    ],
    ids=["connected", "refused"],
)
async def test_what_the_watch_still_shows_of_a_credential_that_is_gone_is_no_answer(alice, world, status):
    """It was deleted just now: the grant is for a new one of the same name, of which the controller has said nothing yet."""
    name = credential_name("trino", "alice")
    world.add_credential(name=name, status=status)
    world.api.objects["usercredentials", "analytics", name]["metadata"]["uid"] = "before"
    world.api.put(USER_CREDENTIALS, world.api.objects["usercredentials", "analytics", name])
    state = await alice.begin()
    world.api.lag = 60
    del world.api.objects["usercredentials", "analytics", name]
    answer = await back(alice, state, code="c")
    assert answer.status == 303
    assert "is being made" in (await alice.get("/")).html


async def test_an_older_credential_declared_elsewhere_is_used(alice, world):
    world.add_credential(name="from-git", created=world.now - timedelta(days=2))
    world.add_credential(name="younger", created=world.now - timedelta(days=1))
    await back(alice, await alice.begin(), code="c")
    assert [grant.credential.name for grant in world.grants()] == ["from-git"]
    assert len(world.credentials()) == 2


async def test_a_credential_that_another_replica_made_meanwhile_is_used(alice, world):
    world.add_credential(name=credential_name("trino", "alice"))
    for mirror in world.cluster._credentials:
        mirror.discard(("analytics", credential_name("trino", "alice")))  # this replica has not heard of it
    await back(alice, await alice.begin(), code="c")
    assert [grant.credential.name for grant in world.grants()] == [credential_name("trino", "alice")]


async def test_a_credential_that_is_gone_although_the_mirror_has_it_is_made_anew(alice, world):
    world.add_credential(name="gone")
    del world.api.objects["usercredentials", "analytics", "gone"]
    await back(alice, await alice.begin(), code="c")
    assert [grant.credential.name for grant in world.grants()] == [credential_name("trino", "alice")]


@pytest.mark.parametrize(
    ("now_there", "used"),
    [
        (credential_of(name="from-git"), "from-git"),
        (credential_of("bob", name="from-git"), credential_name("trino", "alice")),
        (credential_of(name="from-git", deleted=True), credential_name("trino", "alice")),
    ],
    ids=["for the same person", "for another person", "about to go"],
)
async def test_a_credential_that_was_made_anew_although_the_mirror_has_the_old_one(alice, world, now_there, used):
    world.add_credential(name="from-git")
    now_there["metadata"]["uid"] = "another"
    world.api.objects["usercredentials", "analytics", "from-git"] = now_there
    await back(alice, await alice.begin(), code="c")
    (grant,) = world.grants()
    assert grant.credential.name == used
    assert grant.credential.uid != "uid-from-git"


async def test_a_name_that_somebody_else_s_credential_has_is_refused(alice, world):
    world.add_credential("bob", name=credential_name("trino", "alice"))
    answer = await back(alice, await alice.begin(), code="c")
    assert (answer.status, refused(answer)) == (409, "NameTaken")
    assert world.grants() == []


# ---- what a callback must not accept

ANSWERS = {
    "denied": ({"error": "access_denied", "error_description": HOSTILE}, "AccessDenied"),
    "a log-in is wanted": ({"error": "login_required", "error_description": HOSTILE}, "LoginRequired"),
    "the provider is in trouble": ({"error": "server_error", "error_description": HOSTILE}, "ProviderUnavailable"),
    "the client is unknown": ({"error": "unauthorized_client", "error_description": HOSTILE}, "ProviderRefused"),
    "an error nobody knows": ({"error": HOSTILE, "error_uri": "https://evil.example"}, "ProviderRefused"),
    "no code": ({}, "AnswerInvalid"),
    "an empty code": ({"code": ""}, "AnswerInvalid"),
    "another issuer": ({"code": "c", "iss": "https://evil.example"}, "AnswerInvalid"),
    "two codes": ([("code", "c"), ("code", "d")], "AnswerInvalid"),
}


@pytest.mark.parametrize(("query", "word"), ANSWERS.values(), ids=ANSWERS)
async def test_a_bad_answer_gets_a_page_and_nothing_is_made(alice, world, query, word):
    state = await alice.begin()
    pairs = query if isinstance(query, list) else list(query.items())
    answer = await alice.get(CALLBACK, params=[("state", state), *pairs])
    assert refused(answer) == word
    assert answer.status >= 400
    assert 'href="/connect/analytics/trino"' in answer.html
    assert world.api.calls == []
    assert alice.pending == ()
    for words in ("555-0199", "alert(1)", "evil.example", state):
        assert words not in answer.html
    assert world.portal.metrics.registry.get_sample_value("cube_oauth_portal_callbacks_total", {"outcome": word}) == 1


@pytest.mark.parametrize(("named", "word"), [({}, "AnswerInvalid"), ({"iss": ISSUER}, None)], ids=["missing", "there"])
async def test_an_issuer_that_the_provider_promised_must_be_named(alice, world, named, word):
    world.add_app(status={"issuerInAnswers": True})
    world.controller(state="Active", revision=1)
    state = await alice.begin()
    assert refused(await back(alice, state, code="the-code", **named)) == word


async def test_a_state_that_nobody_asked_for(alice, world):
    answer = await back(alice, "guessed", code="c")
    assert (answer.status, refused(answer)) == (400, "StateUnknown")
    assert world.api.calls == []


async def test_a_callback_without_a_state(alice, world):
    await alice.begin()
    answer = await alice.get(f"{CALLBACK}?code=c")
    assert refused(answer) == "StateUnknown"


async def test_a_state_of_another_browser(alice, other_browser, world):
    state = await alice.begin()
    answer = await back(other_browser.log_in("alice"), state, code="c")
    assert refused(answer) == "StateUnknown"
    assert world.api.calls == []


async def test_a_state_of_another_app(alice, world):
    world.add_app("lake")
    state = await alice.begin("analytics/lake")
    answer = await back(alice, state, code="c")
    assert refused(answer) == "StateUnknown"
    assert world.api.calls == []


async def test_an_answer_after_ten_minutes(alice, world):
    state = await alice.begin()
    world.later(minutes=10)
    answer = await back(alice, state, code="c")
    assert refused(answer) == "StateUnknown"


async def test_an_answer_of_a_person_who_was_there_before(alice, world):
    """Alice begins, logs out, and bob logs in with the same browser: her answer is not for him."""
    state = await alice.begin()
    alice.log_in("bob")
    answer = await back(alice, state, code="c")
    assert refused(answer) == "StateUnknown"
    assert world.api.calls == []


async def test_an_answer_after_the_session_ended(alice, world):
    world.later(minutes=25)
    state = await alice.begin()
    alice.cookies = {name: value for name, value in alice.cookies.items() if name.startswith(PENDING_COOKIE)}
    answer = await back(alice, state, code="c")
    assert (answer.status, refused(answer)) == (401, "SessionOver")
    assert 'href="/connect/analytics/trino"' in answer.html
    assert world.api.calls == []


async def test_looking_at_an_answer_does_not_use_it_up(alice, world):
    state = await alice.begin()
    looked = await alice._request("HEAD", CALLBACK, params={"state": state, "code": "c"})
    assert looked.status == 405
    assert world.grants() == []
    assert (await back(alice, state, code="c")).status == 303


async def test_an_answer_counts_once_in_the_browser(alice, world):
    state = await alice.begin()
    await back(alice, state, code="c")
    assert refused(await back(alice, state, code="c")) == "StateUnknown"
    assert len(world.grants()) == 1


async def test_an_answer_counts_once_even_when_the_cookie_was_kept(alice, world):
    state = await alice.begin()
    kept = dict(alice.cookies)
    await back(alice, state, code="c")
    alice.cookies = kept
    answer = await back(alice, state, code="c")
    assert (answer.status, refused(answer)) == (409, "Replayed")
    assert len(world.grants()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"tokenURL": "https://evil.example/token"}},
        {"status": {"authorizationURL": "https://other.example/authorize"}},
        {"spec": {"clientID": "another"}},
    ],
)
async def test_a_code_is_for_the_client_that_the_person_was_sent_for(alice, world, change):
    state = await alice.begin()
    world.add_app(**change)
    answer = await back(alice, state, code="c")
    assert (answer.status, refused(answer)) == (409, "AppChanged")
    assert world.api.calls == []


async def test_an_app_made_anew_under_the_same_name_gets_no_code(alice, world):
    state = await alice.begin()
    body = app_of()
    body["metadata"]["uid"] = "another"
    world.api.put(OAUTH_APPS, body)
    assert refused(await back(alice, state, code="c")) == "AppChanged"


async def test_access_that_was_taken_meanwhile(alice, world):
    state = await alice.begin()
    world.add_app(spec={"access": {"users": ["bob"]}})
    assert refused(await back(alice, state, code="c")) == "NoSuchApp"
    assert world.api.calls == []


async def test_an_app_that_is_not_ready_any_more(alice, world):
    state = await alice.begin()
    world.add_app(ready="False", reason="InvalidClient")
    answer = await back(alice, state, code="c")
    assert refused(answer) == "AppNotReady"
    assert "does not accept the client" in answer.html


async def test_two_tabs_of_one_person(alice, world):
    world.add_app("lake")
    one, other, third = await alice.begin(), await alice.begin("analytics/lake"), await alice.begin()
    assert (await back(alice, one, code="c")).status == 303
    assert (await back(alice, other, path="/callback/analytics/lake", code="d")).status == 303
    assert (await back(alice, third, code="e")).status == 303
    assert sorted(grant.code for grant in world.grants()) == ["c", "d", "e"]


async def test_an_answer_that_takes_its_time_takes_nothing_from_another_tab(alice, world):
    """The portal waits for the controller in one tab, while the person authorizes another app in a second one."""
    world.add_app("lake")
    one = await alice.begin()
    first = asyncio.create_task(back(alice, one, code="c"))
    await asyncio.sleep(0.01)
    other = await alice.begin("analytics/lake")
    assert not first.done()
    await first
    assert (await back(alice, other, path="/callback/analytics/lake", code="d")).status == 303
    assert sorted(grant.code for grant in world.grants()) == ["c", "d"]


async def test_two_authorizations_that_begin_at_once_are_both_answered(alice, world):
    world.add_app("lake")
    await asyncio.gather(alice.post("/connect/analytics/trino"), alice.post("/connect/analytics/lake"))
    states = {item.app: item.state for item in alice.pending}
    assert set(states) == {"trino", "lake"}
    for app, state in states.items():
        assert (await back(alice, state, path=f"/callback/analytics/{app}", code=app)).status == 303


async def test_authorizations_that_nobody_answers_take_no_more_room_than_one_cookie(alice, world):
    """Proxies limit a request's headers; and a browser that stays open for months keeps no cookie longer than it counts."""
    world.portal.settings = dataclasses.replace(world.portal.settings, return_to=(Allowed.read("https://bi.example.com"),))
    for number in range(8):
        page = f"https://bi.example.com/{number}".ljust(400, "x")
        answer = await alice.post("/connect/analytics/trino", {"return_to": page})
    under_way = {name: value for name, value in alice.cookies.items() if name.startswith(PENDING_COOKIE)}
    assert 1 < len(under_way) < 8
    assert sum(map(len, under_way.values())) <= LARGEST
    assert alice.pending[-1].next == page
    assert "Max-Age=600" in answer.headers.getall("Set-Cookie")[-1]


async def test_without_a_key_for_grants_nothing_is_handed_in(alice, world):
    world.api.put(CONFIG_MAPS, {"metadata": {"namespace": "cube-oauth", "name": "cube-oauth-grant-key"}, "data": {}})
    answer = await back(alice, await alice.begin(), code="c")
    assert (answer.status, refused(answer)) == (503, "ClusterUnavailable")
    assert world.grants() == []


async def test_a_new_key_for_grants_is_used_after_a_while(alice, world, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.cluster.KEY_SECONDS", 0)
    await back(alice, await alice.begin(), code="c")
    world.api.objects.pop(next(key for key in world.api.objects if key[0] == "secrets"))
    world.key = SealingKey.generate()
    ring = {"ring": world.key.to_json(private=False)}
    world.api.put(CONFIG_MAPS, {"metadata": {"namespace": "cube-oauth", "name": "cube-oauth-grant-key"}, "data": ring})
    await back(alice, await alice.begin(), code="d")
    assert [grant.code for grant in world.grants()] == ["d"]


# ---- who may begin


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("app", ["analytics/nothing", "analytics/theirs", "elsewhere/trino"])
async def test_what_is_not_there_and_what_is_not_theirs_looks_the_same(alice, world, method, app):
    world.add_app("theirs", spec={"access": {"users": ["bob"]}})
    answer = await getattr(alice, method)(f"/connect/{app}")
    assert (answer.status, refused(answer)) == (404, "NoSuchApp")


async def test_an_app_that_is_not_ready_cannot_be_begun(alice, world):
    world.add_app(ready="False", reason="InvalidClient")
    answer = await alice.post("/connect/analytics/trino")
    assert (answer.status, refused(answer)) == (409, "AppNotReady")
    assert alice.pending == ()


@pytest.mark.parametrize("path", ["/connect/analytics/trino", "/disconnect/analytics/trino"])
async def test_what_an_administrator_withholds_stays_withheld(alice, world, path):
    world.add_credential(spec={"suspend": True}, status={"state": "Revoked"})
    answer = await alice.post(path)
    assert (answer.status, refused(answer)) == (403, "Suspended")
    assert len(world.credentials()) == 1


async def test_what_is_withheld_on_the_way_stays_withheld(alice, world):
    state = await alice.begin()
    world.add_credential(spec={"suspend": True})
    assert refused(await back(alice, state, code="c")) == "Suspended"
    assert world.grants() == []


# ---- the end


async def test_disconnecting_removes_all_of_this_person_s_credentials_and_nobody_else_s(alice, world):
    world.add_credential(name="one", status={"state": "Active"})
    world.add_credential(name="two")
    world.add_credential("bob", name="bob")
    world.add_credential("alice", "lake", name="lake")
    answer = await alice.post("/disconnect/analytics/trino")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert sorted(body["metadata"]["name"] for body in world.credentials()) == ["bob", "lake"]
    assert "revoked" in (await alice.get("/")).html


async def test_after_disconnecting_the_page_says_so_however_late_the_watch_is(alice, world):
    world.add_credential(status={"state": "Active"})
    world.api.lag = 0.05
    await alice.post("/disconnect/analytics/trino")
    assert 'data-state="Pending"' in (await alice.get("/")).html


@pytest.mark.parametrize(("fallback", "says"), [("ServiceAccount", "the service account"), ("Deny", "Cube then refuses")])
async def test_before_disconnecting_a_page_says_what_it_will_do(alice, world, fallback, says):
    world.add_app(spec={"fallback": fallback})
    world.add_credential(status={"state": "Active"})
    answer = await alice.get("/disconnect/analytics/trino")
    assert answer.status == 200
    assert says in answer.html
    assert 'method="post" action="/disconnect/analytics/trino"' in answer.html
    assert len(world.credentials()) == 1


async def test_where_nothing_is_connected_there_is_nothing_to_disconnect(alice):
    answer = await alice.get("/disconnect/analytics/trino")
    assert "nothing to end" in answer.html
    assert 'action="/disconnect' not in answer.html


async def test_disconnecting_leaves_one_that_was_made_anew(alice, world):
    world.add_credential(name="one")
    world.api.objects["usercredentials", "analytics", "one"]["metadata"]["uid"] = "another"
    answer = await alice.post("/disconnect/analytics/trino")
    assert answer.status == 303
    assert len(world.credentials()) == 1


async def test_what_is_withheld_just_now_is_not_removed_although_the_watch_has_not_told(alice, world):
    """A new one would not be suspended."""
    world.change_behind_the_watch(credential_of(status={"state": "Active"}), spec={**credential_of()["spec"], "suspend": True})
    assert refused(await alice.post("/disconnect/analytics/trino")) == "Suspended"
    assert len(world.credentials()) == 1


async def test_what_else_changed_just_now_does_not_keep_one_from_disconnecting(alice, world, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.cluster.LAG", 0.01)
    world.change_behind_the_watch(credential_of(status={"state": "Active"}), status={"state": "Active", "revision": 2})
    assert (await alice.post("/disconnect/analytics/trino")).status == 303
    assert world.credentials() == []


async def test_disconnecting_what_was_not_connected(alice):
    await alice.post("/disconnect/analytics/trino")
    assert "was not connected" in (await alice.get("/")).html

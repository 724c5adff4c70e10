import asyncio
import dataclasses
import logging

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from cube_oauth.portal.cookies import CookieTooLargeError
from cube_oauth.portal.oidc import LogIn, Person, claim_at, read_person
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import SESSION_COOKIE, Pending
from cube_oauth.portal.settings import Admins
from cube_oauth.providers import IdentityError, Kind, ProviderError, ServerMetadata, TokenAnswer

from .conftest import LOG_IN, NOW, refused, secret

ISSUER = "https://login.example.com"
KEY = ECKey.generate_key("P-256", auto_kid=True)
CLAIMS = {
    "iss": ISSUER,
    "aud": "portal",
    "sub": "alice",
    "exp": int(NOW.timestamp()) + 300,
    "iat": int(NOW.timestamp()),
    "nonce": "nonce",
    "groups": ["analysts"],
}


async def come_back(browser, **query):
    state = browser.pending[-1].state if browser.pending else "none"
    return await browser.get("/login/callback", params={"state": state, "code": "c", **query})


async def test_a_person_logs_in(browser, world, caplog):
    away = await browser.get("/login")
    assert away.status == 303
    assert away.headers["Location"].startswith(ISSUER)
    with caplog.at_level(logging.INFO, "cube_oauth.audit"):
        answer = await come_back(browser)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert browser.session.username == "alice"
    assert browser.pending == ()
    assert [(record.message, record.username) for record in caplog.records] == [("logged in", "alice")]


@pytest.mark.parametrize("asked", ["https://evil.example", "//evil.example", "/\\evil.example", "/connect/a/b/../.."])
async def test_a_log_in_leads_to_no_other_site(browser, asked):
    await browser.get("/login", params={"next": asked})
    assert (await come_back(browser)).headers["Location"] == "/"
    assert (await browser.get("/login", params={"next": asked})).headers["Location"] == "/"


async def test_a_log_in_that_was_not_begun_here(browser):
    answer = await come_back(browser)
    assert (answer.status, refused(answer)) == (400, "NoCookies")
    assert browser.session is None


async def test_a_log_in_counts_once(browser):
    await browser.get("/login")
    state = browser.pending[-1].state
    await come_back(browser)
    assert refused(await browser.get("/login/callback", params={"state": state, "code": "c"})) == "LogInOver"


async def test_an_app_s_answer_is_no_log_in(browser, world):
    world.add_app()
    state = await browser.log_in().begin()
    assert refused(await browser.get("/login/callback", params={"state": state, "code": "c"})) == "LogInOver"


async def test_a_refused_log_in_is_counted_and_leaves_nobody(browser, world):
    world.log_in.says = RefusedError("LogInDenied", 403, retry="/login")
    await browser.get("/login")
    answer = await come_back(browser)
    assert refused(answer) == "LogInDenied"
    assert browser.session is None
    count = world.portal.metrics.registry.get_sample_value("cube_oauth_portal_log_ins_total", {"outcome": "LogInDenied"})
    assert count == 1


async def test_a_new_log_in_is_a_new_session(browser):
    before = browser.log_in().session
    browser.cookies.clear()
    await browser.get("/login")
    await come_back(browser)
    assert browser.session.id != before.id


async def test_groups_that_do_not_fit_are_left_out_unless_an_app_names_them(browser, world):
    world.add_app(spec={"access": {"groups": ["analysts"]}})
    many = tuple(f"group-{number:040}" for number in range(200))
    world.log_in.says = Person("alice", (*many, "analysts"))
    await browser.get("/login")
    assert (await come_back(browser)).status == 303
    assert browser.session.groups == ("analysts",)


# ---- the way out


async def test_more_named_groups_than_fit_leave_somebody_logged_in_with_the_first(browser, world):
    groups = tuple(f"group-{number:03}-{'x' * 50}" for number in range(120))
    world.portal.settings = dataclasses.replace(world.portal.settings, admins=Admins(groups=(groups[-1],)))
    world.add_app(spec={"access": {"groups": list(groups)}})
    world.log_in.says = Person("alice", groups)
    await browser.get("/login")
    assert (await browser.get(f"/login/callback?state={browser.pending[-1].state}&code=c")).status == 303
    kept = browser.session.groups
    assert 10 < len(kept) < 120
    assert kept[0] == groups[-1]  # what makes an administrator comes first


async def test_a_notice_that_does_not_fit_beside_the_groups_is_not_told_and_all_else_goes_on(browser, world):
    world.add_app(spec={"displayName": "x" * 80})
    world.add_credential(status={"state": "Active"})
    fill = 2
    while True:
        try:
            browser.log_in("alice", ["x" * fill])
        except CookieTooLargeError:
            break
        fill += 8
    browser.log_in("alice", ["x" * (fill - 8)])
    answer = await browser.post("/disconnect/analytics/trino")
    assert answer.status == 303
    assert world.credentials() == []
    assert (await browser.get("/")).status == 200


async def test_a_browser_that_keeps_no_cookies_is_told_so_and_not_sent_in_a_circle(browser, world):
    world.add_app()
    await browser.get("/login")
    state = browser.pending[-1].state
    browser.cookies.clear()
    assert refused(await browser.get(f"/login/callback?state={state}&code=c")) == "NoCookies"
    assert refused(await browser.get(f"/callback/analytics/trino?state={state}&code=c")) == "NoCookies"


async def test_who_has_logged_out_here_is_led_to_the_provider_s_own_log_out(browser):
    answer = await browser.get("/logged-out")
    assert 'href="https://login.example.com/end?client_id=portal"' in answer.html
    assert 'href="/login"' in answer.html


async def test_where_the_provider_has_none_there_is_no_link(browser, world):
    world.log_in.ends = None
    answer = await browser.get("/logged-out")
    assert "login.example.com" not in answer.html
    assert 'href="/login"' in answer.html


async def test_nobody_is_told_to_be_logged_out_who_is_not(browser):
    assert (await browser.log_in().get("/logged-out")).headers["Location"] == "/"


async def test_an_answer_that_comes_after_logging_out_logs_nobody_in_again(browser, world):
    """In one tab the portal waits for the controller; in another the person logs out before that answer is there."""
    world.add_app()
    state = await browser.log_in().begin()
    late = asyncio.create_task(browser.get("/callback/analytics/trino", params={"state": state, "code": "c"}))
    await asyncio.sleep(0.01)
    assert (await browser.post("/logout")).status == 303
    assert not late.done()
    await late
    assert "Logged in as" not in (await browser.get("/")).html
    assert browser.session is None


async def test_after_logging_out_one_can_log_in_again(browser):
    await browser.log_in().post("/logout")
    await browser.get("/login")
    await come_back(browser)
    assert "Logged in as" in (await browser.get("/")).html


async def test_logging_in_in_a_second_tab_leaves_the_first_one_s_forms_and_authorizations(browser, world):
    world.add_app()
    await browser.get("/login")
    one = browser.pending[-1].state
    await browser.get("/login")
    other = next(item.state for item in browser.pending if item.state != one)
    await browser.get("/login/callback", params={"state": one, "code": "c"})
    token, begun = browser.token(), await browser.begin()
    world.later(minutes=1)
    await browser.get("/login/callback", params={"state": other, "code": "c"})
    assert (await browser.post("/connect/analytics/trino", {"token": token})).status == 200
    assert (await browser.get("/callback/analytics/trino", params={"state": begun, "code": "c"})).status == 303


async def test_logging_in_as_somebody_else_is_a_new_session(browser, world):
    before = browser.log_in("bob").session
    state = await begun_elsewhere(browser)
    await browser.get("/login/callback", params={"state": state, "code": "c"})
    assert (browser.session.username, browser.session.id == before.id) == ("alice", False)


async def begun_elsewhere(browser):
    """A log-in that another tab began before there was a session."""
    session = browser.cookies.pop(SESSION_COOKIE)
    await browser.get("/login")
    browser.cookies[SESSION_COOKIE] = session
    return browser.pending[-1].state


# ---- who it is

PEOPLE = {
    "sub": ({"sub": "alice"}, "sub", "alice"),
    "another claim": ({"sub": "1", "email": "alice@example.com"}, "email", "alice@example.com"),
    "inside": ({"user": {"name": "alice"}}, "user.name", "alice"),
    "a name with dots": ({"https://example.com/name": "alice"}, "https://example.com/name", "alice"),
    "a name with dots inside": ({"a": {"b.c": "alice"}}, "a.b.c", "alice"),
    "the whole name first": ({"a.b": "alice", "a": {"b": "bob"}}, "a.b", "alice"),
    "a capital stays": ({"sub": "Alice"}, "sub", "Alice"),
}
NOBODY = {
    "missing": ({}, "sub"),
    "a number": ({"sub": 7}, "sub"),
    "null": ({"sub": None}, "sub"),
    "a list": ({"sub": ["alice"]}, "sub"),
    "empty": ({"sub": ""}, "sub"),
    "a space": ({"sub": "alice smith"}, "sub"),
    "a line break": ({"sub": "alice\n"}, "sub"),
    "an invisible character": ({"sub": "ali\u200bce"}, "sub"),
    "not composed": ({"sub": "ame\u0301lie"}, "sub"),
    "too long": ({"sub": "a" * 254}, "sub"),
    "half a path": ({"user": "alice"}, "user.name"),
}


def named(claim):
    return type(LOG_IN)(**{**vars(LOG_IN), "username_claim": claim})


@pytest.mark.parametrize(("claims", "path", "username"), PEOPLE.values(), ids=PEOPLE)
def test_the_claim_names_the_person(claims, path, username):
    assert read_person(claims, named(path)).username == username


@pytest.mark.parametrize(("claims", "path"), NOBODY.values(), ids=NOBODY)
def test_the_claim_names_nobody(claims, path):
    with pytest.raises(RefusedError, match="Nameless"):
        read_person(claims, named(path))


@pytest.mark.parametrize(
    ("groups", "read"), [(["a", "b"], ("a", "b")), ("a", ("a",)), (None, ()), (["a", 7, None], ("a",)), ({"a": 1}, ())]
)
def test_groups_are_a_list_or_one(groups, read):
    assert read_person({"sub": "alice", "groups": groups}, LOG_IN).groups == read


def test_no_claim_is_found_where_there_is_no_object():
    assert claim_at({"https://example.com/user": {"name": "x"}, "https": {}}, "https://example.com/user.name") == "x"
    assert claim_at({"a": {"c": "y"}, "a.b": {"c": "x"}}, "a.b.c") == "x"
    assert claim_at("text", "a") is None
    assert claim_at(["a"], "0") is None


# ---- the provider's answer


class FakeClient:
    """A provider client that gives prepared answers."""

    def __init__(self, claims=None, problem=None, key=KEY, said=None):
        self.said = said
        token = jwt.encode({"alg": "ES256", "kid": key.kid}, CLAIMS if claims is None else claims, key)
        self.answer = TokenAnswer(access_token=secret("unused"), id_token=secret(token))
        self.problem = problem
        self.asked = None

    async def exchange_code(self, endpoints, client, **asked):
        self.asked = asked
        if self.problem:
            raise self.problem
        return self.answer

    async def fetch_jwks(self, url):
        return KeySet([KEY])

    async def userinfo(self, endpoints, access_token):
        assert (endpoints.subject_url, access_token.get_secret_value()) == (f"{ISSUER}/userinfo", "unused")
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


class FakeDiscovery:
    more = {}
    problem = None

    async def metadata(self, issuer):
        if self.problem:
            raise self.problem
        known = {"jwks_url": f"{ISSUER}/jwks", "iss_in_answers": True, **self.more}
        return ServerMetadata(ISSUER, f"{ISSUER}/authorize", f"{ISSUER}/token", **known)


def log_in_with(client, **more):
    made = LogIn(LOG_IN, client, "https://portal.example.com/login/callback")
    made._discovery = FakeDiscovery()
    made._discovery.more = more
    return made


PENDING = Pending(purpose="login", state="state", nonce="nonce", verifier="verifier", began=int(NOW.timestamp()))
GOOD = {"state": "state", "code": "code", "iss": ISSUER}


async def test_the_request_has_pkce_nonce_and_our_redirect_uri():
    pending, url = await log_in_with(FakeClient()).begin("/", NOW)
    assert f"state={pending.state}" in url
    assert f"nonce={pending.nonce}" in url
    assert "code_challenge_method=S256" in url
    assert "redirect_uri=https%3A%2F%2Fportal.example.com%2Flogin%2Fcallback" in url
    assert pending.verifier not in url


async def test_the_person_in_a_verified_id_token():
    client = FakeClient()
    assert await log_in_with(client).finish(GOOD, PENDING, NOW) == Person("alice", ("analysts",))
    assert client.asked["code_verifier"].get_secret_value() == "verifier"


THIN = {name: value for name, value in CLAIMS.items() if name != "groups"}
AWAY = ProviderError(Kind.WEATHER, "Timeout", "slow")
ELSEWHERE = {
    "the name": ({"sub": "alice", "email": "a@example.com", "groups": ["analysts"]}, Person("a@example.com", ("analysts",))),
    "a name that was verified": ({"sub": "alice", "email": "a@example.com", "email_verified": True}, Person("a@example.com", ())),
    "a name that was not verified": ({"sub": "alice", "email": "a@example.com", "email_verified": False}, "Nameless"),
    "the same in other words": ({"sub": "alice", "email": "a@example.com", "email_verified": "false"}, "Nameless"),
    "somebody else's name": ({"sub": "bob", "email": "b@example.com"}, "LogInFailed"),
    "nobody's name": ({"email": "b@example.com"}, "LogInFailed"),
    "no name": ({"sub": "alice"}, "Nameless"),
    "nothing now": (AWAY, "LogInUnavailable"),
    "nothing ever": (ProviderError(Kind.APP, "SubjectNotTold", "no"), "LogInFailed"),
}


@pytest.mark.parametrize(("said", "expected"), ELSEWHERE.values(), ids=ELSEWHERE)
async def test_what_the_id_token_does_not_say_the_userinfo_endpoint_does(said, expected):
    log_in = log_in_with(FakeClient(THIN, said=said), userinfo_url=f"{ISSUER}/userinfo")
    log_in.settings = dataclasses.replace(LOG_IN, username_claim="email")
    try:
        found = await log_in.finish(GOOD, PENDING, NOW)
    except RefusedError as error:
        found = error.word
    assert found == expected


@pytest.mark.parametrize("said", [AWAY, {"sub": "alice"}], ids=["away", "silent"])
async def test_whoever_has_a_name_is_logged_in_although_nobody_says_the_groups(said):
    log_in = log_in_with(FakeClient(THIN, said=said), userinfo_url=f"{ISSUER}/userinfo")
    assert await log_in.finish(GOOD, PENDING, NOW) == Person("alice", ())


async def test_nobody_is_asked_when_the_id_token_says_all():
    log_in = log_in_with(FakeClient(said=AssertionError("asked")), userinfo_url=f"{ISSUER}/userinfo")
    assert await log_in.finish(GOOD, PENDING, NOW) == Person("alice", ("analysts",))


BAD_ANSWERS = {
    "denied": ({**GOOD, "error": "access_denied"}, FakeClient(), "LogInDenied"),
    "in trouble": ({**GOOD, "error": "temporarily_unavailable"}, FakeClient(), "LogInUnavailable"),
    "another error": ({**GOOD, "error": "invalid_scope"}, FakeClient(), "LogInFailed"),
    "another issuer": ({**GOOD, "iss": "https://evil.example"}, FakeClient(), "LogInFailed"),
    "no issuer although promised": ({"state": "state", "code": "c"}, FakeClient(), "LogInFailed"),
    "another nonce": (GOOD, FakeClient({**CLAIMS, "nonce": "other"}), "LogInFailed"),
    "no nonce": (GOOD, FakeClient({name: value for name, value in CLAIMS.items() if name != "nonce"}), "LogInFailed"),
    "another audience": (GOOD, FakeClient({**CLAIMS, "aud": "warehouse"}), "LogInFailed"),
    "another token issuer": (GOOD, FakeClient({**CLAIMS, "iss": "https://evil.example"}), "LogInFailed"),
    "expired": (GOOD, FakeClient({**CLAIMS, "exp": 1}), "LogInFailed"),
    "another key": (GOOD, FakeClient(key=ECKey.generate_key("P-256", auto_kid=True)), "LogInFailed"),
    "the code is refused": (GOOD, FakeClient(problem=ProviderError(Kind.USER, "InvalidGrant", "over")), "LogInFailed"),
    "the client is refused": (GOOD, FakeClient(problem=ProviderError(Kind.APP, "InvalidClient", "no")), "LogInFailed"),
    "no answer": (GOOD, FakeClient(problem=ProviderError(Kind.WEATHER, "Timeout", "slow")), "LogInUnavailable"),
    "no name": (GOOD, FakeClient({**CLAIMS, "sub": "a b"}), "Nameless"),
}


@pytest.mark.parametrize(("query", "client", "word"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_bad_answer_logs_nobody_in(query, client, word):
    with pytest.raises(RefusedError) as caught:
        await log_in_with(client).finish(query, PENDING, NOW)
    assert caught.value.word == word


async def test_an_answer_without_an_id_token_logs_nobody_in():
    client = FakeClient()
    client.answer = TokenAnswer(access_token=secret("a"))
    with pytest.raises(RefusedError, match="LogInFailed"):
        await log_in_with(client).finish(GOOD, PENDING, NOW)


async def test_the_provider_s_log_out_is_told_the_client_and_no_token():
    log_in = log_in_with(FakeClient())
    log_in._discovery.more = {"end_session_url": f"{ISSUER}/end?x=1"}
    assert await log_in.log_out_url() == f"{ISSUER}/end?x=1&client_id=portal"


@pytest.mark.parametrize("problem", [None, ProviderError(Kind.WEATHER, "Timeout", "slow")], ids=["it has none", "it is away"])
async def test_logging_out_does_not_depend_on_the_provider(problem):
    log_in = log_in_with(FakeClient())
    log_in._discovery.problem = problem
    assert await log_in.log_out_url() is None


def test_identity_errors_are_the_providers_own_kind():
    assert IdentityError("Expired").reason == "Expired"

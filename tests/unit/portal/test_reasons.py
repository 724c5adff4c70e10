"""No English sentence of the controller on a German page, whatever the reason."""

import html
import re
from types import SimpleNamespace

import pytest

from cube_oauth.lifecycle import apps, authorize, deposits
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.portal.languages import LANGUAGES
from cube_oauth.portal.overview import card, why_not_ready
from cube_oauth.portal.reasons import why
from cube_oauth.portal.reasontexts import ENGLISH_REASONS
from cube_oauth.providers import PRESETS, errors
from cube_oauth.resources.meta import Condition
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import UserCredential, username_fault

from .conftest import NOW, app_of, credential_of

GERMAN, ENGLISH = LANGUAGES["de"], LANGUAGES["en"]
PROVIDER = {reason.word: reason.message for reason in errors.REASONS}
APP = {**PROVIDER, **{problem.reason: problem.message for problem in apps.PROBLEMS}}
TRIED = {**APP, deposits.TRIED: deposits.TRIED_SENTENCE, **{problem.reason: problem.message for problem in deposits.PROBLEMS}}
GRANT = {**PROVIDER, **authorize.SENTENCES}
ALL = [
    *(("Ready", reason, message) for reason, message in APP.items()),
    *(("Tried", reason, message) for reason, message in TRIED.items()),
    *(("Authorized", reason, message) for reason, message in GRANT.items()),
]
MARK = "sentence-of-the-controller"
"""What the controller wrote, so that a page that shows it is noticed."""


def app_with(**more):
    return OAuthApp.model_validate(app_of(spec={"clientSecretRef": {"name": "trino-client"}, **more}))


@pytest.mark.parametrize(("kind", "reason", "message"), ALL, ids=[f"{kind}-{reason}" for kind, reason, _ in ALL])
def test_a_condition_s_reason_is_said_in_the_reader_s_language(kind, reason, message):
    names = {"secret": "trino-client", "key": "clientSecret", "label": "cubeoauth.dev/oauth-client: trino"}
    said = why(Condition(type=kind, status="False", reason=str(reason), message=MARK), app_with())
    assert ENGLISH.plain(said) == message.format(**names)
    german = GERMAN.plain(said)
    assert MARK not in german
    assert not set(sentences(german)) & set(sentences(message.format(**names)))


def sentences(text):
    return [part for part in re.split(r"(?<=[.:;]) ", text) if " " in part]


def test_every_one_of_them_has_german_words_of_its_own():
    same = [key for key, text in ENGLISH_REASONS.items() if GERMAN.catalogue[key] == text]
    names = {f"preset.{name}" for name in ("databricks", "snowflake", "google", "entra", "okta")}
    assert set(same) == names  # what they are called is the same in every language


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("state", ["Pending", "Active", "Expired", "Revoked"])
def test_a_credential_s_reason_never_shows_the_controller_s_sentence(reason, state):
    conditions = [{"type": "Active", "status": "False", "reason": str(reason), "message": MARK}]
    credential = UserCredential.model_validate(credential_of(status={"state": state, "conditions": conditions}))
    shown = card(app_with(), credential, NOW)
    german = " ".join(GERMAN.plain(text) for text in (shown.words.sentence, shown.words.hint, *shown.facts))
    english = " ".join(ENGLISH.plain(text) for text in (shown.words.sentence, shown.words.hint, *shown.facts))
    assert MARK not in german + english
    assert not set(sentences(german)) & set(sentences(english))


def test_a_reason_of_a_newer_controller_is_named():
    said = why(Condition(type="Ready", status="False", reason="Unheard", message=MARK), app_with())
    assert (GERMAN.plain(said), ENGLISH.plain(said)) == ("Der Grund ist Unheard.", "The reason is Unheard.")


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ({"name": "databricks"}, "Für host einzutragen: nur der Host des Workspace"),
        ({"name": "databricks", "parameters": {"host": "https://x/"}}, "Für host einzutragen: nur der Host des Workspace"),
        ({"name": "google", "parameters": {"host": "x"}}, "host kennt die Vorlage nicht"),
    ],
    ids=["missing", "wrong", "unknown"],
)
def test_a_parameter_that_is_wrong_is_named_with_what_to_write(provider, words):
    app = app_of(spec={"provider": provider}, ready="False", reason="InvalidParameters", message=MARK)
    assert words in GERMAN.plain(why_not_ready(OAuthApp.model_validate(app)).hint)


def test_a_warehouse_s_refusal_is_not_called_the_provider_s():
    message = f"{errors.EXCHANGE_FAILED} {errors.INVALID_CLIENT.message}"
    said = why(Condition(type="Authorized", status="False", reason="InvalidClient", message=message), app_with())
    assert ENGLISH.plain(said) == message
    assert GERMAN.plain(said).startswith("Der Tausch des Tokens ist misslungen")


@pytest.mark.parametrize("username", ["", "a b", "u\N{COMBINING DIAERESIS}"])
def test_a_username_that_is_none_is_said_in_the_reader_s_language(username):
    key = f"username.{username_fault(username)}"
    assert GERMAN.catalogue[key] != ENGLISH.catalogue[key]


@pytest.fixture
def german(browser, world, monkeypatch):
    import dataclasses  # noqa: PLC0415

    from cube_oauth.portal.settings import Admins  # noqa: PLC0415

    world.portal.settings = dataclasses.replace(world.portal.settings, admins=Admins(users=("paula",)))
    browser.log_in("paula")

    async def read(path):
        answer = await browser.get(path, headers={"Accept-Language": "de"})
        assert answer.status == 200, path
        return html.unescape(re.sub(r"<[^>]+>", " ", answer.html))

    return SimpleNamespace(read=read, world=world)


async def test_on_german_pages_there_is_no_english_text(german):
    """The texts of the catalogue that are on the English page, and not the same in German, are not on the German one."""
    world = german.world
    failed = [{"type": "Authorized", "status": "False", "reason": "SubjectDiffers", "message": MARK}]
    world.add_app()
    world.add_app("broken", ready="False", reason="ClientSecretNotFound", message=MARK)
    world.add_app(
        "tried", status={"conditions": [{"type": "Tried", "status": "False", "reason": "InvalidClient", "message": MARK}]}
    )
    world.add_credential("paula", status={"state": "Pending", "conditions": failed})
    paths = ["/", "/connect/analytics/trino", "/connect/analytics/broken", "/admin/apps", "/admin/apps/analytics/broken"]
    paths += ["/admin/apps/analytics/tried", "/admin/apps/analytics/trino/edit", "/admin/apps/analytics/trino/delete"]
    paths += [f"/admin/apps/new?preset={name}" for name in PRESETS]
    english = {text for key, text in ENGLISH.catalogue.items() if GERMAN.catalogue[key] != text and len(text.split()) > 2}
    for path in paths:
        text = await german.read(path)
        assert MARK not in text, path
        assert [found for found in english if found in text] == [], path

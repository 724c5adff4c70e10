"""Which tokens are revoked, and for how long that is tried: one line a case."""

from datetime import timedelta

import pytest

from cube_oauth.lifecycle.publish import withdrawn
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.lifecycle.revoke import LONGEST, in_use, replaced_is_revoked, set_aside
from cube_oauth.resources.secrets import RevocationSecret
from tests.unit.lifecycle.samples import NOW, app, token

URL = {"revocation_url": "https://idp.example.com/revoke"}
DAY = timedelta(days=1)


def new(**record):
    return token(grant="two", **record).record


@pytest.mark.parametrize(
    ("what", "choice", "old", "record", "expected"),
    [
        ("nothing was there", "IfAnother", None, new(), False),
        ("it is the same sign-in, written twice", "Always", token(), token().record, False),
        ("nobody knows whether the provider keeps them apart", "IfAnother", token(), new(), False),
        (
            "the same account in the same session",
            "IfAnother",
            token(account="a", session="s"),
            new(account="a", session="s"),
            False,
        ),
        ("the same account, and no session is said", "IfAnother", token(account="a"), new(account="a"), False),
        ("another account", "IfAnother", token(account="a"), new(account="b"), True),
        ("another session", "IfAnother", token(account="a", session="s"), new(account="a", session="t"), True),
        ("another client", "IfAnother", token(client_id="former"), new(), True),
        ("another token endpoint", "IfAnother", token(token_url="https://former.example.com/token"), new(), True),
        ("whoever knows the provider says always", "Always", token(), new(), True),
        ("or never", "Never", token(client_id="former"), new(), False),
    ],
)
def test_a_replaced_sign_in_is_revoked(what, choice, old, record, expected):
    assert replaced_is_revoked(app(revokeReplaced=choice), old, record) is expected


@pytest.mark.parametrize(
    ("what", "record", "until"),
    [
        ("as long as the refresh token lasts", {"refresh_token_expires_at": NOW + 2 * DAY}, NOW + 2 * DAY),
        ("a week at most", {"refresh_token_expires_at": NOW + 90 * DAY}, NOW + LONGEST),
        ("a week when its end is not known", {}, NOW + LONGEST),
        ("an access token until it ends", {"refresh": None}, token().record.expires_at),
    ],
)
def test_it_is_tried(what, record, until):
    assert set_aside(token(**{**URL, **record}), "Suspended", None, None, NOW).record.until == until


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("the provider has no endpoint", token()),
        ("there is no token", token(access=None, refresh=None, **URL)),
        ("the refresh token has ended", token(refresh_token_expires_at=NOW, **URL)),
        ("the last access token has ended", token(age=2 * DAY, refresh=None, **URL)),
    ],
)
def test_there_is_nothing_to_revoke_when(what, made):
    assert set_aside(made, "Suspended", None, None, NOW) is None


def test_a_refresh_token_ends_the_access_token_too_so_that_alone_is_kept():
    aside = set_aside(token(**URL), "Suspended", None, None, NOW)
    assert (aside.refresh_token, aside.access_token) == ("sealed-refresh", None)


@pytest.mark.parametrize(
    ("what", "there", "expected"),
    [
        ("it is where it was", token(), True),
        ("it was withdrawn", withdrawn(token(), Reason.SUSPENDED), False),
        ("another sign-in took its place", token(grant="two"), False),
        ("its Secret is gone", None, False),
    ],
)
def test_a_sign_in_is_in_use_while(what, there, expected):
    assert in_use(set_aside(token(**URL), "x", None, None, NOW).record, there) is expected


def test_what_is_set_aside_survives_the_api_server():
    aside = set_aside(token(**URL), "Suspended", "post", "sealed-client-secret", NOW)
    back = RevocationSecret.from_kubernetes(aside.to_kubernetes("tokens"))
    assert back.to_kubernetes("tokens") == aside.to_kubernetes("tokens")
    assert (back.client_secret, back.record.client_authentication) == ("sealed-client-secret", "post")


def test_a_secret_that_is_no_revocation_is_named():
    with pytest.raises(ValueError, match="tokens/revoke-x holds no readable revocation record"):
        RevocationSecret.from_kubernetes({"metadata": {"name": "revoke-x", "namespace": "tokens"}})

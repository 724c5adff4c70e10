"""One credential, its app and its token, to be changed by each test."""

from datetime import UTC, datetime, timedelta

from cube_oauth.lifecycle.decide import Observed
from cube_oauth.lifecycle.publish import Issued
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.secrets import Claim, Reference, TokenRecord, TokenSecret
from cube_oauth.resources.usercredential import UserCredential

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
TOKEN_URL = "https://idp.example.com/token"


def app(**spec):
    return OAuthApp.model_validate(
        {
            "metadata": {"name": "trino", "namespace": "team", "uid": "uid-app"},
            "spec": {"tokenURL": TOKEN_URL, "authorizationURL": "https://idp.example.com/a", "clientID": "cube", **spec},
        }
    )


def credential(username="alice", *, suspend=False, rejected=None, **status):
    return UserCredential.model_validate(
        {
            "metadata": {"name": "trino-alice", "namespace": "team", "uid": "uid-1", "generation": 3},
            "spec": {"username": username, "oauthAppRef": {"name": "trino"}, "suspend": suspend},
            "status": {**({"demand": {"rejectedRevision": rejected}} if rejected else {}), **status},
        }
    )


def token(*, age=10 * MINUTE, lifetime=HOUR, access="sealed-access", refresh="sealed-refresh", claim=None, **record):
    return TokenSecret(
        TokenRecord(
            **{
                "credential": Reference(namespace="team", name="trino-alice", uid="uid-1"),
                "app": Reference(namespace="team", name="trino", uid="uid-app"),
                "username": "alice",
                "token_url": TOKEN_URL,
                "client_id": "cube",
                "grant": "one",
                "revision": 5,
                "issued_at": NOW - age,
                "expires_at": NOW - age + lifetime,
                **record,
            }
        ),
        claim,
        access,
        refresh,
        "77",
    )


def claim(seconds, name="theirs"):
    return Claim(id=name, refresh_token_hash="h", deadline=NOW + seconds * SECOND)


def issued(**changes):
    return Issued(
        **{
            "access_token": "new-access",
            "refresh_token": "new-refresh",
            "issued_at": NOW,
            "expires_in": HOUR,
            **changes,
        }
    )


def observed(**changes):
    return Observed(**{"credential": credential(), "app": app(), "app_ready": True, "token": token(), **changes})

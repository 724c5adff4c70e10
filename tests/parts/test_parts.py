"""The parts that other tests stand on do what those tests take for granted."""

import base64
import hashlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.parts import cube, provider, warehouse, web
from tests.parts.certificates import self_made
from tests.parts.prepared import MissingToolError
from tests.parts.processes import Process, _claimed, free_port

pytestmark = pytest.mark.timeout(900)  # the first run downloads everything

ROOT = Path(__file__).resolve().parents[2]
CALLBACK = "https://portal.test/callback/analytics/trino"
SCOPE = "openid offline_access query"
SERVICE = "cube-service-account"
CLIENT_KEY = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True)
CLIENTS = [
    provider.app_client("basic", [CALLBACK], client_secret="s3cret"),
    provider.app_client("post", [CALLBACK], client_secret="s3cret", token_endpoint_auth_method="client_secret_post"),
    provider.app_client("public", [CALLBACK], token_endpoint_auth_method="none"),
    provider.app_client(
        "signed",
        [CALLBACK],
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [CLIENT_KEY.as_dict(private=False)]},
    ),
    provider.log_in_client("portal", "s3cret", [CALLBACK]),
    provider.service_client(SERVICE, "s3cret"),
    provider.service_client("renamed", "s3cret", subject="somebody"),
]


def prepared(*parts):
    """Download what the parts need, or skip with the sentence that says what is missing."""
    try:
        for part in parts:
            part.prepare()
    except MissingToolError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def running_idp(logs):
    prepared(provider)
    certificate = self_made(logs / "tls", "127.0.0.1")
    users = {"alice": ["analysts"], "bob": []}
    with provider.Provider(clients=CLIENTS, users=users, certificate=certificate, folder=logs / "provider") as running:
        yield running


@pytest.fixture
def idp(running_idp):
    yield running_idp
    running_idp.control.heal()
    running_idp.control.revoke()
    running_idp.control.reset_stats()
    running_idp.control.lifetimes(accessToken=60)


@pytest.fixture(scope="module")
def trino(running_idp, logs):
    prepared(warehouse)
    with warehouse.Warehouse(issuer=running_idp.issuer, jwks_ca=running_idp.ca, folder=logs / "warehouse") as running:
        yield running


@pytest.fixture(scope="module")
def cube_environment(running_idp, trino):
    prepared(cube)
    token = service_token(running_idp)
    return cube.warehouse_environment(host="127.0.0.1", port=trino.port, ca=str(trino.ca), token=token)


@pytest.fixture(scope="module")
def documented_cube(cube_environment, logs):
    with cube.Cube(env=cube_environment, folder=logs / "cube") as running:
        yield running


def authorize(idp, username="alice", *, client_id="basic", scope=SCOPE, **person):
    """Return the parameters of the redirect back, and the PKCE verifier."""
    verifier = secrets.token_urlsafe(48)
    request = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "scope": scope,
        "state": "some state",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    url = f"{idp.metadata()['authorization_endpoint']}?{urlencode(request)}"
    person = {"password": provider.PASSWORD} | person
    back = provider.sign_in(url, username, until=CALLBACK, ca=idp.ca, **person)
    return dict(parse_qsl(urlsplit(back).query)), verifier


def sign_in(idp, username="alice", *, client_id="basic", scope=SCOPE):
    """Return the token endpoint's answer at the end of a whole sign-in."""
    back, verifier = authorize(idp, username, client_id=client_id, scope=scope)
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code": back["code"]}
    return post_token(idp, client_id, code_verifier=verifier, **form)


def refresh(idp, refresh_token, client_id="basic"):
    return post_token(idp, client_id, grant_type="refresh_token", refresh_token=refresh_token)


def post_token(idp, client_id, **form):
    headers, authentication = authenticate(idp, client_id)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    body = urlencode(form | authentication).encode()
    return web.request("POST", idp.metadata()["token_endpoint"], body=body, headers=headers, ca=idp.ca)


def authenticate(idp, client_id):
    """Return headers and form fields, as the client's registered method wants them."""
    if client_id == "post":
        return {}, {"client_id": client_id, "client_secret": "s3cret"}
    if client_id == "public":
        return {}, {"client_id": client_id}
    if client_id == "signed":
        now = int(time.time())
        claims = {"iss": client_id, "sub": client_id, "aud": idp.issuer, "jti": uuid.uuid4().hex, "exp": now + 60}
        return {}, {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "RS256"}, claims, CLIENT_KEY),
        }
    return {"Authorization": f"Basic {base64.b64encode(f'{client_id}:s3cret'.encode()).decode()}"}, {}


def service_token(idp, client_id=SERVICE):
    return post_token(idp, client_id, grant_type="client_credentials").json()["access_token"]


def claims_of(idp, token):
    """Return the claims of a token whose signature is the provider's."""
    keys = KeySet.import_key_set(web.request("GET", idp.jwks_url, ca=idp.ca).json())
    return jwt.decode(token, keys).claims


# ---- the provider


def test_a_sign_in_ends_with_an_access_token_for_the_warehouse_and_an_id_token(idp):
    answer = sign_in(idp, "alice").json()

    access = claims_of(idp, answer["access_token"])
    assert (access["sub"], access["aud"], access["iss"]) == ("alice", "warehouse", idp.issuer)
    assert access["exp"] - access["iat"] == answer["expires_in"] == 60
    identity = claims_of(idp, answer["id_token"])
    assert (identity["sub"], identity["preferred_username"], identity["groups"]) == ("alice", "alice", ["analysts"])


def test_the_redirect_back_names_the_issuer(idp):
    back, _ = authorize(idp)

    assert (back["state"], back["iss"]) == ("some state", idp.issuer)


def test_a_wrong_password_does_not_log_in(idp):
    with pytest.raises(RuntimeError, match="User name or password is wrong"):
        authorize(idp, "alice", password="guessed")


def test_a_person_may_say_no(idp):
    back, _ = authorize(idp, decision="deny")

    assert back["error"] == "access_denied"


def test_logging_in_asks_for_no_consent(idp):
    back, _ = authorize(idp, client_id="portal", scope="openid profile email", decision="deny")

    assert "code" in back


def test_a_code_is_worth_nothing_without_its_verifier(idp):
    back, _ = authorize(idp)

    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code": back["code"]}
    answer = post_token(idp, "basic", code_verifier=secrets.token_urlsafe(48), **form)

    assert answer.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("client_id", ["basic", "post", "public", "signed"])
def test_each_way_of_client_authentication_gets_and_refreshes_tokens(idp, client_id):
    first = sign_in(idp, client_id=client_id)

    assert refresh(idp, first.json()["refresh_token"], client_id).status == 200


def test_without_offline_access_there_is_no_refresh_token(idp):
    assert "refresh_token" not in sign_in(idp, scope="openid query").json()


def test_a_client_that_only_logs_people_in_gets_nothing_for_the_warehouse(idp):
    answer = sign_in(idp, client_id="portal", scope="openid").json()

    assert claims_of(idp, answer["id_token"])["sub"] == "alice"
    assert "." not in answer["access_token"]


def test_a_refresh_rotates_the_refresh_token(idp):
    first = sign_in(idp).json()
    second = refresh(idp, first["refresh_token"]).json()

    assert second["refresh_token"] != first["refresh_token"]
    assert claims_of(idp, second["access_token"])["sub"] == "alice"
    assert idp.control.stats()["issued"] == {"authorization_code": 1, "refresh_token": 1}


def test_a_refresh_token_used_twice_is_noticed_and_ends_the_grant(idp):
    first = sign_in(idp).json()
    second = refresh(idp, first["refresh_token"]).json()
    assert idp.control.stats()["reuseDetected"] == 0

    again = refresh(idp, first["refresh_token"])

    assert again.json()["error"] == "invalid_grant"
    assert refresh(idp, second["refresh_token"]).json()["error"] == "invalid_grant"
    assert idp.control.stats()["reuseDetected"] == 1
    assert idp.control.grants() == []


def test_each_sign_in_is_a_grant_of_its_own(idp):
    first, second = sign_in(idp).json(), sign_in(idp).json()
    headers, _ = authenticate(idp, "basic")
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    revocation = idp.metadata()["revocation_endpoint"]

    body = urlencode({"token": first["refresh_token"]}).encode()
    assert web.request("POST", revocation, body=body, headers=headers, ca=idp.ca).status == 200

    assert refresh(idp, first["refresh_token"]).json()["error"] == "invalid_grant"
    assert refresh(idp, second["refresh_token"]).status == 200
    assert idp.control.stats()["revocationRequests"] == 1


def test_a_grant_can_be_taken_back_by_the_test(idp):
    alice, bob = sign_in(idp, "alice").json(), sign_in(idp, "bob").json()

    assert [grant["username"] for grant in idp.control.revoke(username="alice")] == ["alice"]

    assert refresh(idp, alice["refresh_token"]).json()["error"] == "invalid_grant"
    assert refresh(idp, bob["refresh_token"]).status == 200


def test_the_token_endpoint_can_be_out_of_order_for_a_while(idp):
    token = sign_in(idp).json()["refresh_token"]

    idp.control.fail(1, retry_after=7)
    broken, repaired = refresh(idp, token), refresh(idp, token)

    assert (broken.status, broken.headers["Retry-After"], repaired.status) == (503, "7", 200)
    assert idp.control.stats()["injected"] == 1


def test_an_answer_can_be_lost_after_the_refresh_token_was_rotated(idp):
    token = sign_in(idp).json()["refresh_token"]

    idp.control.lose_answers(1)
    with pytest.raises(OSError, match="closed connection"):
        refresh(idp, token)

    assert refresh(idp, token).json()["error"] == "invalid_grant"
    assert idp.control.stats()["reuseDetected"] == 1


def test_a_service_account_has_its_own_subject_and_lifetime(idp):
    claims = claims_of(idp, service_token(idp))

    assert (claims["sub"], claims["aud"]) == (SERVICE, "warehouse")
    assert claims["exp"] - claims["iat"] == 86_400
    assert claims_of(idp, service_token(idp, "renamed"))["sub"] == "somebody"


# ---- the warehouse


def test_trino_sees_a_query_as_the_tokens_subject(idp, trino):
    for username in ("alice", "bob"):
        token = sign_in(idp, username).json()["access_token"]
        assert trino.query(token, "SELECT current_user") == [[username]]


def test_trino_refuses_a_name_that_is_not_the_tokens(idp, trino):
    token = sign_in(idp, "alice").json()["access_token"]

    with pytest.raises(warehouse.QueryFailedError, match="cannot impersonate"):
        trino.query(token, "SELECT current_user", user="bob")


def test_trino_refuses_an_expired_token(idp, trino):
    idp.control.lifetimes(accessToken=10)
    token = sign_in(idp, "alice").json()["access_token"]
    assert trino.query(token, "SELECT current_user") == [["alice"]]

    assert refused_within(trino, token, seconds=60).status == 401


def refused_within(trino, token, *, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            trino.query(token, "SELECT 1")
        except warehouse.RefusedError as refusal:
            return refusal
        time.sleep(0.2)
    pytest.fail(f"Trino still takes the token after {seconds} s")


def test_trino_refuses_a_token_that_somebody_else_signed(idp, trino):
    token = sign_in(idp, "alice").json()["access_token"]
    stranger = RSAKey.generate_key(2048, private=True)
    [known] = web.request("GET", idp.jwks_url, ca=idp.ca).json()["keys"]
    forged = jwt.encode({"alg": "RS256", "kid": known["kid"]}, claims_of(idp, token), stranger)

    with pytest.raises(warehouse.RefusedError, match="401"):
        trino.query(forged, "SELECT 1")


# ---- Cube


def test_cube_asks_the_warehouse_as_the_service_account_when_there_is_no_credential(documented_cube):
    assert documented_cube.whoami("alice") == SERVICE
    assert documented_cube.whoami(None) == SERVICE


def test_cube_refuses_a_caller_whose_token_has_another_signature(documented_cube):
    with pytest.raises(cube.LoadError, match="403"):
        cube.whoami(documented_cube.url, "alice", secret="another secret, as long as the first one")


def test_a_nonce_reaches_the_warehouse_past_cubes_cache(documented_cube):
    asked_at = [
        documented_cube.load("alice", cube.whoami_query() | {"dimensions": ["whoami.asked_at"]})[0]["whoami.asked_at"]
        for _ in range(2)
    ]

    assert asked_at[0] != asked_at[1]


def test_the_documented_configuration_asks_as_the_user_who_has_a_credential(idp, cube_environment, tmp_path):
    credential = {"status": "active", "accessToken": sign_in(idp, "alice").json()["access_token"], "subject": "alice"}
    project = project_that_knows({"Alice@example.org": credential}, tmp_path / "project")

    with cube.Cube(env=cube_environment, project=project, folder=tmp_path) as running:
        assert running.whoami("Alice@example.org") == "alice"
        assert running.whoami("carol") == SERVICE


def project_that_knows(credentials, folder):
    """Make a project whose extendContext does by hand what the operator's hook does."""
    shutil.copytree(cube.PROJECT, folder)
    (folder / "cube.js").rename(folder / "documented.js")
    (folder / "cube.js").write_text(f"""
        const credentials = {json.dumps(credentials)};
        const extendContext = ({{ securityContext: {{ username }} }}) => ({{
          securityContext: {{ cubeCloud: {{ username, userCredentials: {{ trino: credentials[username] }} }} }},
        }});
        module.exports = {{ ...require('./documented.js'), extendContext }};
    """)
    return folder


def test_the_documented_configuration_in_python_does_the_same(cube_environment, tmp_path):
    project = cube.python_project(tmp_path / "project")

    with cube.Cube(env=cube_environment | cube.PYTHON_ENVIRONMENT, project=project, folder=tmp_path) as running:
        assert running.whoami("alice") == SERVICE


def test_a_file_can_be_preloaded_into_cube(cube_environment, tmp_path):
    preload = tmp_path / "preload.cjs"
    preload.write_text("console.log(`preloaded into Node.js ${process.versions.node}`);")

    with cube.Cube(env=cube_environment, preload=preload, folder=tmp_path) as running:
        assert "preloaded into Node.js 22." in running.said()


# ---- what they run on


def test_a_taken_port_is_refused():
    with socket.create_server(("127.0.0.1", free_port())) as taken, pytest.raises(RuntimeError, match="already in use"):
        free_port(taken.getsockname()[1])


def test_stopping_a_program_stops_what_it_started(tmp_path):
    script = "import subprocess as s, time; print(s.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    log = tmp_path / "log"
    with Process("parent", [sys.executable, "-c", script], log=log, env={}) as parent:
        parent.wait_until(lambda: log.read_text().strip().isdigit(), seconds=20)
        child = Path(f"/proc/{log.read_text().strip()}")
        assert child.exists()

    until = time.monotonic() + 20
    while runs(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def runs(process):
    """Whether a process lives, by its folder in /proc; for a moment after a signal it still does."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_a_program_that_ends_early_says_why(tmp_path):
    script = "import sys; sys.exit('no such luck')"
    with (
        Process("unlucky", [sys.executable, "-c", script], log=tmp_path / "log", env={}) as process,
        pytest.raises(RuntimeError, match="unlucky ended with 1:\nno such luck"),
    ):
        process.wait_until(lambda: False, seconds=20)


def test_a_free_port_is_given_to_one_only_though_nobody_listens_there_yet():
    given = [free_port() for _ in range(900)]
    assert len(set(given)) == len(given)


def test_a_port_that_another_run_was_given_is_given_to_nobody_though_nobody_listens_there_yet():
    script = "from tests.parts.processes import free_port; print(free_port(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        theirs = int(other.stdout.readline())
        assert not _claimed(theirs)
        other.communicate(b"\n")
    assert _claimed(theirs)

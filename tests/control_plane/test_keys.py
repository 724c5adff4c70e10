"""Key rings on a real API server and its etcd: rotated, lost, restored, mounted from outside; with the page's own commands."""

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cube_oauth.resources.keyring import Keyring
from tests.cluster import binaries
from tests.control_plane.harness import SECRETS, condition, eventually

pytestmark = pytest.mark.control_plane
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/keys.md").read_text()
QUICK = {"CUBE_OAUTH_KEYS_ANNOUNCE_SECONDS": "1"}
IMAGE = "docker run --rm cubeoauth/operator"


@pytest.fixture
def page(installation, tmp_path):
    """Runs the command of docs/reference/keys.md that begins with these words, in a folder of the test."""
    kubectl = binaries.ensure(binaries.CONTROL_PLANE)["kubectl"]
    env = {
        **os.environ,
        "PATH": f"{Path(kubectl).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(installation.cluster.kubeconfig),
    }

    def run(words: str) -> str:
        blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
        [block] = [block for block in blocks if block.startswith(words)]
        script = block.replace("-n cube-oauth", f"-n {installation.system}").replace("cube-oauth-keys", "co-keys")
        script = script.replace(IMAGE, f"{sys.executable} -m cube_oauth")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=env,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def ring_secret(installation, name):
    return f"{SECRETS.format(installation.system)}/co-keys-{name}"


def rotation(installation, name):
    return (
        installation.kube.get(ring_secret(installation, name))["metadata"].get("annotations", {}).get("cubeoauth.dev/rotation", "")
    )


def active(installation, username):
    return condition(installation.look(username), "Active")


def metric(controller, name):
    lines = controller.page("/metrics")[1].splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"cube_oauth_controller_{name} ")), None)


def test_rings_are_rotated_under_what_is_stored_while_one_controller_follows_another(installation, provider, page):
    provider.control.lifetimes(accessToken=3600)
    first = installation.start(**QUICK)
    installation.app()
    for name in ("alice", "bob"):
        installation.connect(name)
    tokens = {name: installation.plain(name) for name in ("alice", "bob")}
    records = {name: installation.token(name).record for name in tokens}
    old = {name: installation.ring(name) for name in ("access", "refresh")}
    requests = provider.control.stats()
    page("kubectl -n cube-oauth annotate")
    eventually(lambda: rotation(installation, "access").startswith("Promoted"), say=installation.tell)
    first.terminate()
    second = installation.start(**QUICK)
    eventually(lambda: all(rotation(installation, name).startswith("Dropped") for name in old), say=installation.tell)
    for name, before in old.items():
        assert installation.ring(name).kids != before.kids
        assert len(installation.ring(name).kids) == 1
    assert {name: installation.plain(name) for name in tokens} == tokens
    assert {name: installation.token(name).record for name in tokens} == records
    assert provider.control.stats() == requests
    eventually(lambda: metric(second, "reencryption_waiting") == 0, say=installation.tell)
    assert "Promoted at" in page("kubectl -n cube-oauth get secrets -l cubeoauth.dev/kind=keyring -o custom-columns")
    eventually(lambda: len(installation._sealing_key().kids) == 2, say=installation.tell)
    installation.connect("alice")  # the code came under the new key for grants


def swap(installation, mine, others):
    """Exchange one field of two token Secrets, or two fields of one."""
    (one, field), (other, other_field) = mine, others
    paths = [f"{SECRETS.format(installation.tokens)}/{installation.token(*who).name}" for who in (one, other)]
    values = [installation.kube.get(path)["data"][name] for path, name in zip(paths, (field, other_field), strict=True)]
    changes = {path: {"data": {}} for path in paths}
    changes[paths[0]]["data"][field], changes[paths[1]]["data"][other_field] = reversed(values)
    for path, change in changes.items():
        installation.kube.patch(path, change)


SWAPPED = {
    "two persons' refresh tokens": ((("alice", "trino"), "refreshToken"), (("bob", "trino"), "refreshToken")),
    "two apps' refresh tokens": ((("alice", "trino"), "refreshToken"), (("alice", "other"), "refreshToken")),
    "access and refresh token": ((("alice", "trino"), "accessToken"), (("alice", "trino"), "refreshToken")),
}


def test_ciphertexts_that_were_exchanged_are_refused_and_connecting_again_heals(installation, provider):
    provider.control.lifetimes(accessToken=3600)
    installation.start()
    installation.app()
    installation.app("other", client="other")
    for mine, others in SWAPPED.values():
        for who in {mine[0], others[0]}:
            installation.connect(*who)
        requests = provider.control.stats()
        swap(installation, mine, others)
        for who in {mine[0], others[0]}:
            installation.until(*who, lambda status: "UndecipherableToken" in str(status) or "moved here" in str(status))
        assert provider.control.stats() == requests
    installation.connect("alice")
    assert active(installation, "alice")["reason"] == "Active"


def test_access_tokens_that_were_exchanged_are_replaced_by_a_refresh(installation, provider):
    provider.control.lifetimes(accessToken=3600)
    installation.start().page("/readyz")
    installation.app()
    for name in ("alice", "bob"):
        installation.connect(name)
    before = {installation.plain(name)[0] for name in ("alice", "bob")}
    swap(installation, (("alice", "trino"), "accessToken"), (("bob", "trino"), "accessToken"))
    for name in ("alice", "bob"):
        installation.until(name, "trino", lambda status: status["revision"] == 2 and status["state"] == "Active")
        assert installation.plain(name)[0] not in before


def lose(installation, name):
    installation.controllers[-1].terminate()
    installation.kube.delete(ring_secret(installation, name))


def test_a_lost_ring_is_restored_from_the_backup(installation, provider, page):
    provider.control.lifetimes(accessToken=3600)
    installation.start()
    installation.app()
    installation.connect("alice")
    page("kubectl -n cube-oauth get secrets -l cubeoauth.dev/kind=keyring -o json")
    lose(installation, "refresh")
    waiting = installation.start(active=None)
    eventually(lambda: "restore it from a backup" in waiting.page("/readyz")[1], say=installation.tell)
    assert installation.kube.get(ring_secret(installation, "refresh")) is None
    page("kubectl apply --server-side")
    eventually(waiting.active, say=installation.tell)
    assert active(installation, "alice")["reason"] == "Active"


def test_a_loss_that_is_accepted_asks_to_authorize_again(installation, page):
    installation.start()
    installation.app()
    installation.connect("alice")
    lose(installation, "refresh")
    installation.kube.patch(ring_secret(installation, "access"), {"data": None})
    waiting = installation.start(active=None)
    command = "kubectl -n cube-oauth create secret generic"
    said = f"{command.replace('-n cube-oauth', f'-n {installation.system}')} co-keys-refresh"
    eventually(lambda: said in waiting.page("/readyz")[1], say=installation.tell)
    page(command)
    eventually(waiting.active, say=installation.tell)
    pending = installation.until("alice", "trino", lambda status: status["state"] == "Pending")
    lost = next(one for one in pending["conditions"] if one["type"] == "Active")
    assert (lost["reason"], "authorizes again" in lost["message"]) == ("UndecipherableToken", True)
    installation.connect("alice")
    assert installation.status("alice")["revision"] > pending["revision"]


def test_an_older_ring_opens_what_it_can_and_the_rest_recovers_with_its_keys(installation, provider, page, tmp_path):
    provider.control.lifetimes(accessToken=3600)
    installation.start()
    installation.app()
    installation.connect("alice")
    page("kubectl -n cube-oauth get secrets -l cubeoauth.dev/kind=keyring -o json")
    installation.controllers[-1].terminate()
    newer = base64.b64encode(Keyring.generate().to_json().encode()).decode()
    for name in ("access", "refresh"):
        key = newer if name == "refresh" else base64.b64encode(Keyring.generate().to_json().encode()).decode()
        installation.kube.patch(ring_secret(installation, name), {"data": {"ring": key}})
    installation.start()
    installation.connect("bob")
    installation.until("alice", "trino", lambda status: status["state"] == "Pending")
    assert active(installation, "alice")["reason"] == "UndecipherableToken"
    assert active(installation, "bob")["reason"] == "Active"
    page("kubectl -n cube-oauth get secret cube-oauth-keys-refresh -o jsonpath")
    installation.until("alice", "trino", lambda status: status["state"] == "Active")
    assert installation.status("alice")["revision"] == 2  # the access token could not be opened, the refresh token could
    assert active(installation, "bob")["reason"] == "Active"


# ---- etcd


def forms(secret: bytes) -> set[bytes]:
    """How it could be written down: raw, hex, and base64 of either kind wherever it begins in a longer text."""
    found = {secret, secret.hex().encode()}
    for begin in range(3):
        encoded = base64.b64encode(b"\0" * begin + secret)
        inner = encoded[(0, 2, 3)[begin] : len(encoded) - 4]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def dump(cluster) -> bytes:
    """All that etcd has on disk: its database with every revision that is kept, and its log."""
    files = [path for path in sorted((cluster.work / "data" / "etcd").rglob("*")) if path.is_file()]
    assert {path.suffix for path in files} >= {"", ".wal"}
    return b"\n".join(path.read_bytes() for path in files)


def there(secrets, dumped) -> set[str]:
    return {name for name, secret in secrets.items() if any(form in dumped for form in forms(secret))}


def key_bytes(rings):
    return {
        f"{name} key": base64.urlsafe_b64decode(str(key.get("k") or key.get("d")) + "==")
        for name, ring in rings.items()
        for key in ring.keys.keys
    }


def test_etcd_holds_no_token_and_with_mounted_rings_no_key(installation, provider, page, tmp_path, monkeypatch):
    codes = []
    get_code = installation._code
    monkeypatch.setattr(installation, "_code", lambda *arguments: codes.append(get_code(*arguments)) or codes[-1])
    page(f"{IMAGE} keyring access")
    rings = {name: Keyring.from_json((tmp_path / name).read_text()) for name in ("access", "refresh")}
    controller = installation.start(CUBE_OAUTH_KEYS_DIR=str(tmp_path), **QUICK)
    installation.app(refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
    provider.control.lifetimes(accessToken=30)
    installation.connect("alice")
    secrets = {f"token {number}": token for number, token in enumerate(plain(installation, "alice", rings))}
    installation.until("alice", "trino", lambda status: status["revision"] >= 2)
    secrets |= {f"newer token {number}": token for number, token in enumerate(plain(installation, "alice", rings))}
    secrets |= {f"code {number}": code.encode() for number, code in enumerate(codes)}
    secrets |= key_bytes(rings)
    stored = installation.token("alice")  # before the files are read: the next refresh comes in two seconds
    dumped = dump(installation.cluster)
    assert there({"ciphertext": stored.refresh_token.encode(), "username": b"alice"}, dumped) == {"ciphertext", "username"}
    assert there(secrets, dumped) == set()
    assert installation.kube.items(f"{SECRETS.format(installation.system)}?labelSelector=cubeoauth.dev/kind=keyring") == []
    controller.terminate()


def plain(installation, username, rings):
    token = installation.token(username)
    values = (rings["access"], token.access_token), (rings["refresh"], token.refresh_token)
    return [ring.open(value, token.record.owner).get_secret_value().encode() for ring, value in values]


def test_keys_in_secrets_are_found_in_etcd(installation):
    """So that the test above is known to be able to find one."""
    installation.start()
    rings = {name: installation.ring(name) for name in ("access", "refresh", "cookie")}
    assert there(key_bytes(rings), dump(installation.cluster)) == {"access key", "refresh key", "cookie key"}


def test_mounted_rings_are_rotated_from_outside(installation, provider, page, tmp_path):
    provider.control.lifetimes(accessToken=3600)
    page(f"{IMAGE} keyring access")
    controller = installation.start(CUBE_OAUTH_KEYS_DIR=str(tmp_path), **QUICK)
    installation.app()
    installation.connect("alice")
    before = plain(
        installation, "alice", {name: Keyring.from_json((tmp_path / name).read_text()) for name in ("access", "refresh")}
    )
    page(f"{IMAGE} keyring refresh > new")
    shutil.copy(tmp_path / "announced", tmp_path / "refresh")
    page("jq -c '.keys |= [.[-1]]")
    shutil.copy(tmp_path / "promoted", tmp_path / "refresh")
    eventually(lambda: metric(controller, "reencrypted_total") == 1, say=installation.tell)
    page("jq -c '.keys |= .[:1]")
    shutil.copy(tmp_path / "dropped", tmp_path / "refresh")
    rings = {
        "access": Keyring.from_json((tmp_path / "access").read_text()),
        "refresh": Keyring.from_json((tmp_path / "new").read_text()),
    }
    assert plain(installation, "alice", rings) == before


def test_a_ring_that_is_not_mounted_is_asked_for(installation, tmp_path):
    waiting = installation.start(active=None, CUBE_OAUTH_KEYS_DIR=str(tmp_path / "nothing"))
    eventually(lambda: "mount it" in waiting.page("/readyz")[1], say=installation.tell)

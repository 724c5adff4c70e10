"""The broker against a real API server: real TokenReviews, real watches, its own rights only."""

import asyncio
import logging
import os
import sys
from datetime import timedelta

import pytest

from cube_oauth.broker import files
from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS
from cube_oauth.resources.keyring import Keyring, binding
from tests.control_plane.brokers import CANARY, PATIENCE, Running, eventually, new_tenant, now, running_broker, told
from tests.parts.certificates import self_made

pytestmark = pytest.mark.control_plane


@pytest.fixture
async def tenant(control_plane, kubectl, namespace, tmp_path):
    async with new_tenant(control_plane, kubectl, namespace, tmp_path) as made:
        yield made


@pytest.fixture
async def broker(tenant, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.05)
    async with running_broker(tenant, tmp_path, monkeypatch) as running:
        yield running
    records = told(caplog)
    assert not [record for record in records if CANARY in record.getMessage()]
    assert not [record for record in records if record.levelno >= logging.ERROR and record.name.startswith("cube_oauth")]


@pytest.fixture
async def app(tenant):
    return await tenant.app()


@pytest.fixture
def pod(tenant):
    return tenant.pod_token()


async def test_a_pod_gets_the_persons_token_and_nobody_elses(tenant, app, broker, pod):
    await tenant.connected("alice", app)
    await tenant.credential("bob")
    entry = await broker.eventually("alice", pod, "active")
    assert entry["accessToken"] == f"{CANARY}alice-1"
    assert {
        "revision": 1,
        "grant": "grant-1",
        "subject": "alice",
        "reason": "Active",
        "fallback": "ServiceAccount",
    }.items() <= entry.items()
    assert entry["authorizeURL"] == f"https://portal.example.com/connect/{tenant.namespace}/trino"
    for other in ("bob", "Alice", "nobody"):
        entry = await broker.entry(other, pod)
        assert (entry["status"], entry["reason"]) == ("missing", "NotConnected")
        assert "accessToken" not in entry


async def test_only_a_token_for_this_audience_counts(tenant, app, broker, kubectl):
    await tenant.connected("alice", app)
    for token in (tenant.pod_token(audience="other.example.com"), "made.up.token", None):
        status, answer = await broker.resolve("alice", token)
        assert (status, answer["reason"]) == (401, "Unauthenticated")
        async with broker.session(token) as session, session.get("/v1/changes") as refused:
            assert refused.status == 401


async def test_a_pod_of_another_namespace_sees_nothing(tenant, app, broker, kubectl):
    await tenant.connected("alice", app)
    await broker.eventually("alice", tenant.pod_token(), "active")
    status, answer = await broker.resolve("alice", tenant.pod_token(namespace="default"))
    assert (status, answer["reason"]) == (403, "Forbidden")


async def test_two_tenants_do_not_see_each_other(tenant, app, kubectl, tmp_path, monkeypatch):
    other = f"{tenant.namespace}-2"
    kubectl("create", "namespace", other)
    kubectl("create", "serviceaccount", "cube", "-n", other)
    reads = ("--verb=list,watch", "--resource=oauthapps.cubeoauth.dev,usercredentials.cubeoauth.dev")
    kubectl("create", "role", "broker", "-n", other, *reads)
    kubectl("create", "rolebinding", "broker", "-n", other, "--role=broker", f"--serviceaccount={tenant.namespace}:broker")
    try:
        async with running_broker(tenant, tmp_path, monkeypatch, [tenant.namespace, other]) as broker:
            await tenant.connected("alice", app)
            await broker.eventually("alice", tenant.pod_token(), "active")
            status, answer = await broker.resolve("alice", tenant.pod_token("cube", other))
            assert (status, answer["credentials"]) == (200, {})
    finally:
        kubectl("delete", "namespace", other, "--wait=false")


async def test_an_app_may_be_kept_to_some_service_accounts(tenant, broker, kubectl):
    app = await tenant.app(resolvers={"serviceAccounts": ["cube"]})
    await tenant.connected("alice", app)
    kubectl("create", "serviceaccount", "cube", "-n", tenant.namespace)
    allowed = tenant.pod_token("cube")

    async def answered():
        return (await broker.resolve("alice", allowed))[1]["credentials"]

    assert (await eventually(answered))["trino"]["status"] == "active"
    status, answer = await broker.resolve("alice", tenant.pod_token())
    assert (status, answer["credentials"]) == (200, {})


async def test_suspension_and_deletion_are_told_and_obeyed(tenant, app, broker, pod):
    credential = await tenant.connected("alice", app)
    await broker.eventually("alice", pod, "active")
    name = credential["metadata"]["name"]
    async with broker.changes(pod) as following:
        assert (await following())["type"] == "hello"
        await tenant.admin.merge(USER_CREDENTIALS, name, {"spec": {"suspend": True}}, tenant.namespace)
        assert await following() == {"type": "changed", "username": "alice"}
        entry = await broker.entry("alice", pod)
        assert (entry["status"], entry["reason"], "accessToken" in entry) == ("revoked", "Suspended", False)
        await tenant.admin.merge(USER_CREDENTIALS, name, {"spec": {"suspend": False}}, tenant.namespace)
        assert await following() == {"type": "changed", "username": "alice"}
        assert (await broker.entry("alice", pod))["status"] == "active"
        await tenant.admin.delete(USER_CREDENTIALS, name, tenant.namespace)
        assert await following() == {"type": "changed", "username": "alice"}
        entry = await broker.entry("alice", pod)
        assert (entry["status"], entry["reason"]) == ("missing", "NotConnected")


async def test_a_status_that_the_controller_writes_is_no_news_but_a_new_token_is(tenant, app, broker, pod):
    credential = await tenant.connected("alice", app)
    await broker.eventually("alice", pod, "active")
    async with broker.changes(pod) as following:
        assert (await following())["type"] == "hello"
        status = {"status": {"state": "Active", "revision": 1}}
        await tenant.admin.merge(USER_CREDENTIALS, credential["metadata"]["name"], status, tenant.namespace, "status")
        counts = {"status": {"credentials": {"active": 1}}}
        await tenant.admin.merge(OAUTH_APPS, "trino", counts, tenant.namespace, "status")
        await tenant.credential("bob")
        assert await following() == {"type": "changed", "username": "bob"}
        await tenant.token(tenant.record(credential, app, revision=2))
        assert await following() == {"type": "changed", "username": "alice", "rotated": True}
        assert (await broker.entry("alice", pod))["revision"] == 2
        await tenant.token(tenant.record(credential, app, revision=3, grant="another sign-in"))
        assert await following() == {"type": "changed", "username": "alice"}
        await tenant.admin.merge(OAUTH_APPS, "trino", {"spec": {"fallback": "Deny"}}, tenant.namespace)
        assert await following() == {"type": "changed"}
        assert (await broker.entry("alice", pod))["fallback"] == "Deny"


async def test_whoever_is_not_named_has_no_credential_and_learns_which_sources_refuse_them(tenant, app, broker, pod):
    await tenant.connected("alice", app)
    await tenant.admin.merge(OAUTH_APPS, "trino", {"spec": {"fallback": "Deny"}}, tenant.namespace)
    await broker.eventually("alice", pod, "active")
    status, answer = await broker.post("/v1/resolve", {"caller": None}, pod)
    assert (status, set(answer)) == (200, {"credentials"})
    entry = answer["credentials"]["trino"]
    assert set(entry) == {"status", "reason", "authorizeURL", "fallback"}
    assert entry["status"] == "missing"


async def test_an_ended_token_is_withheld_whatever_the_status_says(tenant, app, broker, pod):
    credential = await tenant.credential("alice")
    await tenant.token(tenant.record(credential, app, expires_at=now() - timedelta(seconds=1)))
    entry = await broker.eventually("alice", pod, "expired")
    assert (entry["reason"], "accessToken" in entry) == ("Expired", False)


async def test_a_token_moved_to_somebody_elses_secret_does_not_open(tenant, app, broker, pod):
    credential = await tenant.credential("mallory")
    record = tenant.record(credential, app)
    await tenant.token(record, owner=binding(tenant.namespace, "trino", "uid-of-alice", "alice"))

    async def known():
        found = await broker.entry("mallory", pod)
        return found if found["reason"] != "NotConnected" else None

    entry = await eventually(known)
    assert (entry["status"], entry["reason"], "accessToken" in entry) == ("missing", "UndecipherableToken", False)


async def test_a_refused_token_is_refreshed_once_and_the_newer_one_answers(tenant, app, broker, pod):
    credential = await tenant.connected("alice", app)
    await broker.eventually("alice", pod, "active")
    body = {"caller": {"username": "alice", "assertion": None}, "dataSource": "trino", "revision": 1}
    asked = asyncio.create_task(broker.post("/v1/invalidate", body, pod))

    async def written():
        return (await tenant.demand(credential)).get("rejectedRevision")

    assert await eventually(written) == 1
    assert not asked.done()
    await tenant.token(tenant.record(credential, app, revision=2))
    status, answer = await asked
    assert (status, answer["credentials"]["trino"]["revision"]) == (200, 2)
    status, answer = await broker.post("/v1/invalidate", body, pod)  # an old revision: nothing to wait for
    assert (status, answer["credentials"]["trino"]["revision"]) == (200, 2)


async def test_a_use_is_noted_in_the_status(tenant, app, broker, pod):
    credential = await tenant.connected("alice", app)
    await broker.eventually("alice", pod, "active")

    async def written():
        return (await tenant.demand(credential)).get("lastUsedAt")

    assert await eventually(written)


async def test_a_new_certificate_and_its_authority_are_taken_over(tenant, app, broker, pod, tmp_path):
    async with broker.changes(pod) as following:
        assert (await following())["ca"] == broker.ca
        authority = self_made(tmp_path / "new", "localhost", "127.0.0.1").cert.read_text()
        (tmp_path / "new" / "ca.crt").write_text(authority)
        (tmp_path / "tls").rename(tmp_path / "old")  # all files at once, as the kubelet does: a certificate goes with its key
        (tmp_path / "new").rename(tmp_path / "tls")
        line = await following()
        assert (line["type"], line["ca"]) == ("ca", authority)
    assert (await broker.resolve("alice", pod))[0] == 200  # broker.ca is the new one by now


async def test_a_new_ring_opens_what_could_not_be_opened(tenant, app, broker, pod):
    ring = Keyring.generate()
    credential = await tenant.credential("alice")
    await tenant.token(tenant.record(credential, app), ring=ring)
    async with broker.changes(pod) as following:
        assert (await following())["type"] == "hello"
        broker.mount(ring)
        while (await following()) != {"type": "changed", "username": "alice"}:
            pass
    assert (await broker.eventually("alice", pod, "active"))["accessToken"] == f"{CANARY}alice-1"


async def test_a_rotation_of_the_ring_is_no_news_to_anybody(tenant, app, broker, pod, caplog):
    """What is said next is about bob: nothing was said about alice."""

    async def read(times):
        async def seen():
            return [record.msg for record in caplog.records].count("a mounted Secret changed") == times

        await eventually(seen)

    announced = tenant.ring.with_announced(now(), now())
    promoted = announced.with_promoted(now())
    credential = await tenant.credential("alice")
    whole = now().replace(microsecond=0)
    record = tenant.record(credential, app, issued_at=whole, expires_at=whole + timedelta(hours=1))
    await tenant.token(record)
    await broker.eventually("alice", pod, "active")
    async with broker.changes(pod) as following:
        assert (await following())["type"] == "hello"
        for times, ring in enumerate((announced, promoted), start=1):
            broker.mount(ring)
            await read(times)
            await tenant.token(record, ring=ring)
        await tenant.connected("bob", app)
        assert (await following())["username"] == "bob"
    assert (await broker.entry("alice", pod))["accessToken"] == f"{CANARY}alice-1"


async def test_without_the_newest_key_a_replica_says_not_ready_and_never_not_connected(tenant, app, broker, pod):
    newer = tenant.ring.with_announced(now(), now()).with_promoted(now())
    credential = await tenant.credential("alice")
    status = {"status": {"state": "Active", "conditions": []}}
    await tenant.admin.merge(USER_CREDENTIALS, credential["metadata"]["name"], status, tenant.namespace, "status")
    await tenant.token(tenant.record(credential, app), ring=newer)

    async def refused():
        status, answer = await broker.resolve("alice", pod)
        return status == 503 and answer["reason"] == "NotReady"

    assert await eventually(refused)
    broker.mount(newer)
    assert (await broker.entry("alice", pod))["accessToken"] == f"{CANARY}alice-1"  # at once: it looked for itself


async def test_what_is_asked_wrongly_is_refused_in_a_sentence(tenant, app, broker, pod):
    for body in ({}, {"caller": {"username": "a b"}}, {"caller": {"username": "alice"}, "apps": "trino"}):
        status, answer = await broker.post("/v1/resolve", body, pod)
        assert (status, answer["reason"]) == (400, "BadRequest")
    assert 'cube_oauth_broker_requests_total{method="resolve",outcome="BadRequest"} 3.0' in await broker.metrics()


async def test_the_process_ends_in_order_when_it_is_told_to(tenant, tmp_path, monkeypatch):
    """kopf takes SIGTERM for itself in a main thread, so this needs a process."""
    tenant.kubeconfig = tenant.broker_kubeconfig()
    running = Running(tenant, tmp_path, [tenant.namespace])
    environment = {**os.environ, **running.variables, "PYTHONPATH": "operator"}
    command = (sys.executable, "-m", "cube_oauth", "broker")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        await running.ready()
        async with running.changes(tenant.pod_token()) as following:
            assert (await following())["type"] == "hello"
            process.terminate()
            _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, said.decode()
        assert b"Traceback" not in said
    finally:
        if process.returncode is None:
            process.kill()

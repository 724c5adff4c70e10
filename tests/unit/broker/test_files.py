"""Mounted certificates, as handshakes see them."""

import asyncio
import shutil
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from cube_oauth.broker import files
from cube_oauth.broker.files import AccessRing, Certificate
from cube_oauth.resources.keyring import Keyring
from tests.parts.certificates import self_made


def serves(certificate, trusted):
    """A handshake with whoever trusts ``trusted`` (PEM). Raises OSError."""
    trust = ssl.create_default_context(cadata=trusted)
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        server = pool.submit(certificate.context.wrap_socket, ours, server_side=True)
        with trust.wrap_socket(theirs, server_hostname="broker"), server.result():
            pass


def test_a_certificate_without_its_key_spoils_nothing_and_is_taken_over_once_the_key_is_there(tmp_path):
    old, new = self_made(tmp_path / "mounted", "broker"), self_made(tmp_path / "new", "broker")
    trusted, renewed = old.ca.read_text(), new.ca.read_text()
    (tmp_path / "mounted" / "ca.crt").write_text(trusted)
    certificate = Certificate(str(tmp_path / "mounted"))
    serves(certificate, trusted)
    shutil.copy(new.cert, old.cert)
    with pytest.raises(ssl.SSLError, match="mismatch"):
        certificate.load()
    serves(certificate, trusted)
    shutil.copy(new.key, old.key)
    certificate.load()
    serves(certificate, renewed)


async def test_what_changed_before_it_was_followed_is_taken_over_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    path, changed = tmp_path / "ring.json", asyncio.Event()
    path.write_text(Keyring.generate().to_json())
    access, newer = AccessRing(str(path)), Keyring.generate()
    path.write_text(newer.to_json())
    following = asyncio.create_task(files.follow(access, changed.set))
    async with asyncio.timeout(10):
        await changed.wait()
    following.cancel()
    assert access.ring.kids == newer.kids


async def test_what_was_read_already_is_no_change(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOOK_SECONDS", 0)
    path = tmp_path / "ring.json"
    path.write_text(Keyring.generate().to_json())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await files.follow(AccessRing(str(path)), pytest.fail)

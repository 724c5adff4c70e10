"""What the API server, or something in front of it, answers."""

from types import SimpleNamespace

import pytest

from cube_oauth.kube.api import SECRETS, Api, KubeError


class Answering(Api):
    """An API whose every request is answered so."""

    def __init__(self, status, body):
        super().__init__(None)
        self._answer = status, body

    async def _send(self, *_):
        status, body = self._answer

        async def read():
            return body

        return SimpleNamespace(status=status, read=read, release=lambda: None)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}"])
async def test_a_success_without_an_object_is_none_so_that_the_write_is_looked_after(body):
    with pytest.raises(KubeError) as refusal:
        await Answering(200, body).create(SECRETS, {"metadata": {"name": "a"}}, "tokens")
    assert (refusal.value.status, refusal.value.conflict) == (0, False)


async def test_a_refusal_without_a_word_is_still_that_refusal():
    with pytest.raises(KubeError) as refusal:
        await Answering(409, b"").create(SECRETS, {"metadata": {"name": "a"}}, "tokens")
    assert refusal.value.conflict

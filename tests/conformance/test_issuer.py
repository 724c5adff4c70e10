"""Whether an answer names its issuer (RFC 9207): the defence against mix-up, in each combination."""

import pytest

from cube_oauth.providers import CallbackError
from tests.conformance.emulator import Behaviour
from tests.conformance.rows import BY_ISSUER, OPENID, Row

CASES = {
    "right, as announced": ("right", True, None),
    "right, without having been announced": ("right", False, None),
    "wrong": ("wrong", True, "IssuerDiffers"),
    "wrong, without having been announced": ("wrong", False, "IssuerDiffers"),
    "missing, although announced": (None, True, "IssuerDiffers"),
    "missing, and never announced": (None, False, None),
}
ROWS = {name: Row(BY_ISSUER, Behaviour(**OPENID, iss=iss, iss_announced=announced)) for name, (iss, announced, _) in CASES.items()}


@pytest.mark.parametrize(("row", "reason"), [(ROWS[name], case[2]) for name, case in CASES.items()], ids=CASES.keys())
async def test_an_issuer_in_the_answer_that_is(run, reason):
    query, _ = await run.callback()
    if reason is None:
        assert run.code(query)
    else:
        with pytest.raises(CallbackError) as caught:
            run.code(query)
        assert caught.value.reason == reason

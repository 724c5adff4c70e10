"""Why something is as it is, in the reader's language: from a condition's reason, never from its message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.lifecycle.publish import AUTHORIZED
from cube_oauth.portal.appform import AppForm
from cube_oauth.portal.reasontexts import APP, GRANT, PROVIDER
from cube_oauth.portal.texts import ENGLISH, Text, say
from cube_oauth.providers.errors import EXCHANGE_FAILED, INVALID_PARAMETERS
from cube_oauth.resources.names import CLIENT_CONSENT_LABEL

if TYPE_CHECKING:
    from cube_oauth.resources.meta import Condition
    from cube_oauth.resources.oauthapp import OAuthApp


def why(condition: Condition, app: OAuthApp | None) -> Text:
    """The sentence for a condition of an OAuthApp, or of one of its UserCredentials. ``app``: whose names are filled in."""
    if condition.reason == INVALID_PARAMETERS.word and app is not None and (found := _parameter(app)):
        return found
    prefixes = (GRANT, PROVIDER) if condition.type == AUTHORIZED else (APP, PROVIDER)
    known = (f"{prefix}.{condition.reason}" for prefix in prefixes)
    key = next((key for key in known if key in ENGLISH), None)
    if key is None:
        return say("reason.unknown", reason=condition.reason)
    said = Text(key, _names(app) if app is not None else {})
    return say("reason.exchange", why=said) if condition.message.startswith(EXCHANGE_FAILED) else said


def _names(app: OAuthApp) -> dict[str, str]:
    """What stands in braces in the sentences about an app."""
    reference = app.spec.client_secret_ref
    return {
        "secret": reference.name if reference else "",
        "key": reference.key if reference else "",
        "label": f"{CLIENT_CONSENT_LABEL}: {app.metadata.name}",
    }


def _parameter(app: OAuthApp) -> Text | None:
    """Which of the preset's parameters is missing or wrong, and what to write."""
    form = AppForm.of(app)
    known = {parameter.name for parameter in form.known.parameters}
    if unknown := sorted(set(form.parameters) - known):
        return say("reason.parameter.unknown", name=unknown[0])
    wrong = next((known.name for known in form.known.parameters if not known.accepts(form.parameters.get(known.name))), None)
    return say("reason.parameter", name=wrong, advice=form.advice(wrong)) if wrong else None

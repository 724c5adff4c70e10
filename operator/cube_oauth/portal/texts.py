"""Every word that people read, in one place. Nothing here comes from a provider.

What decides says ``Text``s: a key of the catalogue and what is filled in. Only ``languages.py`` makes words of them, so that no
decision knows a language. To translate: a mapping with the same keys beside ``ENGLISH``, and a line in ``languages.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cube_oauth.portal.reasontexts import ENGLISH_REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True)
class Text:
    """A text of the catalogue, in no language yet; values may be texts and moments themselves."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """A time for people, seen from ``now``, and for machines."""

    time: datetime
    now: datetime = field(repr=False)
    """Left out of ``repr``: it is not what is said."""


def say(key: str, **values: object) -> Text:
    """This text with its values. Raises KeyError for a typing error."""
    if key not in ENGLISH:
        raise KeyError(key)
    return Text(key, values)


ENGLISH: Mapping[str, str] = {
    # every page
    "product": "Cube connections",
    "skip": "Skip to the content",
    "account": "Logged in as",
    "log-in": "Log in",
    "log-out": "Log out",
    "home": "All connected apps",
    # the front page before the log-in
    "welcome.title": "Query as yourself",
    "welcome.body": "Connect your own account at each data source once. From then on, what you ask Cube runs with your own "
    "permissions, and your connection is renewed by itself.",
    "logged-out.title": "You are logged out",
    "logged-out.body": "At <strong>{host}</strong> you may still be logged in; then Log in lets you in again without a question. "
    "On a computer that others use, log out there, too.",
    "logged-out.there": "Log out at {host}",
    # connected apps
    "apps.title": "Connected apps",
    "apps.intro": "With a connected account, what you ask Cube runs with your own permissions in that data source.",
    "apps.calling": "To be reconnected ({number}):",
    "apps.none": "There is no app that you may connect.",
    "apps.none.hint": "Ask whoever runs Cube for you to give you access to one.",
    "app.in": "{data_source} in {namespace}",
    "app.authorize": "Authorize",
    "app.reconnect": "Reconnect",
    "app.disconnect": "Disconnect",
    "state.active": "Connected as <strong>{subject}</strong>",
    "state.active.until": "Connected as <strong>{subject}</strong>, until {until}",
    "state.active.renewed": "Renewed by itself.",
    "state.active.renewed.until": "Renewed by itself; then you reconnect.",
    "state.active.last": "It cannot be renewed: reconnect when it has ended.",
    "state.expired": "Expired: reconnect",
    "state.expired.at": "Expired {at}: reconnect",
    "state.expired.hint": "Until you do, you do not use your own account.",
    "state.revoked": "Ended: reconnect",
    "state.revoked.hint": "The provider says that this connection is over.",
    "state.withdrawn.hint": "It was withdrawn on our side, and the tokens were revoked.",
    "state.idle": "Connected, not in use",
    "state.idle.hint": "It is renewed with the next question that you ask Cube.",
    "state.delayed": "Being renewed",
    "state.delayed.hint": "The provider does not renew it just now. It is tried again by itself; until then you do not use "
    "your own account.",
    "state.suspended": "Withheld",
    "state.suspended.hint": "An administrator has suspended this connection.",
    "state.pending": "Not connected",
    "state.pending.hint": "You are asked at the provider, and come back here.",
    "state.failed.hint": "The last attempt did not succeed. {why}",
    "state.connecting": "Being connected",
    "state.connecting.hint": "You have authorized it, but the connection is not made yet. {why}",
    "state.setting-up": "Being set up",
    "state.setting-up.hint": "Reload this page in a moment.",
    "state.unavailable": "Not available",
    "state.unavailable.hint": "For whoever runs Cube for you: {why}",
    "warning.ends": "This connection ends {at}. Reconnect now, and nothing is interrupted.",
    "used.never": "Not used yet",
    "used.last": "Last used {at}",
    "used.refreshed": "Renewed {at}",
    "scopes.may": "What it may do",
    "time.day": "{day} {month}",
    "time.year": "{day} {month} {year}",
    "time.yesterday": "yesterday, {clock} UTC",
    "time.today": "today, {clock} UTC",
    "time.tomorrow": "tomorrow, {clock} UTC",
    "months": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    # what just happened
    "notice.connected": "{title} is connected. What you ask Cube now runs with your own permissions there.",
    "notice.waiting": "You have authorized {title}. The connection is being made; reload this page in a moment.",
    "notice.disconnected": "{title} is disconnected. Your tokens are revoked at the provider and removed; what you ask Cube no "
    "longer runs with your permissions there.",
    "notice.nothing": "{title} was not connected.",
    # one app
    "connect.title": "Connect {title}",
    "connect.body": "You go on to <strong>{host}</strong>, are asked there whether Cube may act for you, and come back here.",
    "connect.who": "Use the account that belongs to <strong>{username}</strong>.",
    "connect.done": "You are connected already. Authorizing again replaces the connection.",
    "connect.back": "Back to {host}",
    "connect.then": "Then you go back to {host}.",
    "connect.scopes": "What it may do then",
    # what scopes permit: scope.<preset>.<scope> comes before scope.<scope>
    "scope.openid": "Know who you are there",
    "scope.profile": "See your name",
    "scope.email": "See your e-mail address",
    "scope.offline_access": "Be renewed while you are away",
    "scope.databricks.all-apis": "Use everything in Databricks that you may use",
    "scope.databricks.sql": "Run SQL in Databricks as you",
    "scope.snowflake.refresh_token": "Be renewed while you are away",
    "scope.google.https://www.googleapis.com/auth/bigquery": "See and change your data in BigQuery",
    "scope.google.https://www.googleapis.com/auth/bigquery.readonly": "See your data in BigQuery",
    # ending a connection
    "disconnect.title": "Disconnect {title}?",
    "disconnect.body": "Your tokens are revoked at the provider, where it permits that, and removed here at once.",
    "disconnect.then.ServiceAccount": "What you ask Cube then runs with the service account's permissions, not with yours.",
    "disconnect.then.Deny": "Cube then refuses what you ask of this data source, until you connect again.",
    "disconnect.keep": "Keep it",
    "disconnect.none": "You are not connected to {title}, so there is nothing to end.",
    # on the way to the provider
    "leave.title": "On the way to {title}",
    "leave.body": "You are being taken to <strong>{host}</strong>.",
    "leave.link": "Continue to {host}",
    # refusals: what happened, and what to do
    "refused.AccessDenied.title": "Nothing was connected",
    "refused.AccessDenied.body": "You, or the provider on its own, said no to {title}. If it was not you, ask the provider's "
    "administrator to permit this application for you.",
    "refused.LoginRequired.title": "The provider wants to see you",
    "refused.LoginRequired.body": "It wants you to log in, or to agree to something, before {title} can be connected. Start again, "
    "and follow its pages.",
    "refused.ProviderUnavailable.title": "The provider is not available",
    "refused.ProviderUnavailable.body": "The provider has an error of its own just now. Try again in a few minutes.",
    "refused.ProviderRefused.title": "The provider refused the request",
    "refused.ProviderRefused.body": "It does not accept the request that was made for {title}. Trying again will hardly help: tell "
    "whoever runs Cube for you. The reason is {reason}.",
    "refused.StateUnknown.title": "This answer does not belong to you",
    "refused.StateUnknown.body": "It was not asked for in this browser and this session, or it was used already, or more than ten "
    "minutes went by. Nothing was connected. Start again, and do not open links to this page that somebody sent you.",
    "refused.AnswerInvalid.title": "The answer cannot be trusted",
    "refused.AnswerInvalid.body": "It is incomplete, or it does not come from the provider that was asked. Nothing was connected. "
    "Start again; if it happens once more, tell whoever runs Cube for you.",
    "refused.Replayed.title": "This answer was used already",
    "refused.Replayed.body": "An answer of the provider counts once. If you did not open it twice yourself, look whether you are "
    "connected, disconnect, and tell whoever runs Cube for you.",
    "refused.AppChanged.title": "{title} changed meanwhile",
    "refused.AppChanged.body": "Its settings were changed while you were at the provider, so the answer was not used. Start again.",
    "refused.AppNotReady.title": "{title} is not available",
    "refused.AppNotReady.body": "{why} Nothing was changed.",
    "refused.NoSuchApp.title": "There is no such app",
    "refused.NoSuchApp.body": "It does not exist, or you may not connect it. Ask whoever runs Cube for you.",
    "refused.Suspended.title": "This connection is withheld",
    "refused.Suspended.body": "An administrator has suspended your connection to {title}. Ask whoever runs Cube for you.",
    "refused.NameTaken.title": "Nothing was connected",
    "refused.NameTaken.body": "The name of your connection is used for something else in this namespace. Tell whoever runs Cube "
    "for you that UserCredential {name} must be removed.",
    "refused.GrantRefused.title": "Nothing was connected",
    "refused.GrantRefused.body": "You authorized {title}, but its answer could not be used. {why}",
    "refused.ClusterUnavailable.title": "Not available just now",
    "refused.ClusterUnavailable.body": "The cluster did not take the request. Try again in a moment.",
    "refused.LogInFailed.title": "You are not logged in",
    "refused.LogInFailed.body": "The log-in provider's answer cannot be used. Log in again; if it happens once more, tell whoever "
    "runs Cube for you. The reason is {reason}.",
    "refused.LogInDenied.title": "You are not logged in",
    "refused.LogInDenied.body": "The log-in was broken off, or the log-in provider does not let you in here.",
    "refused.LogInUnavailable.title": "Logging in is not possible just now",
    "refused.LogInUnavailable.body": "The log-in provider does not answer. Try again in a few minutes.",
    "refused.LogInOver.title": "This log-in is over",
    "refused.LogInOver.body": "It was not begun in this browser, or it was used already, or more than ten minutes went by. "
    "Log in again.",
    "refused.NoCookies.title": "Your browser sends no cookies here",
    "refused.NoCookies.body": "The portal remembers what you began in cookies of its own, and none came with this request. Allow "
    "cookies for this site, and begin again; or you opened in one browser what was begun in another. Nothing was changed.",
    "refused.Nameless.title": "You cannot be told apart",
    "refused.Nameless.body": "The log-in provider's answer holds no usable user name ({why}). Tell whoever runs Cube for you.",
    "refused.NotThroughProxy.title": "This is not the way in",
    "refused.NotThroughProxy.body": "The portal is open to its log-in proxy alone. Open it by its public address.",
    "refused.SessionOver.title": "Your session has ended",
    "refused.SessionOver.body": "You were away for a while, so you have been logged out. Nothing was changed. Log in, "
    "and start again.",
    "refused.TypingKept.title": "Your session has ended",
    "refused.TypingKept.body": "Nothing was changed. What you typed is kept on this page, but the client secret is not. Log in in "
    "another tab, come back here, and go on.",
    "kept.log-in": "Log in (in a new tab)",
    "kept.go-on": "Go on with what I typed",
    "refused.ForeignForm.title": "This request was not made here",
    "refused.ForeignForm.body": "The form is from another session or another site, so nothing was changed. Go back to your apps "
    "and press the button there.",
    "refused.NotFound.title": "There is no such page",
    "refused.NotFound.body": "The address leads nowhere.",
    "refused.BadRequest.title": "This request cannot be read",
    "refused.BadRequest.body": "Go back to your apps and start from there.",
    "refused.Failure.title": "Something went wrong here",
    "refused.Failure.body": "It is written in the portal's log. Try again in a moment.",
    "refused.TooMany.title": "Too many requests",
    "refused.TooMany.body": "That was more than one person does. Nothing was changed. Wait for a minute, and try again.",
    # for administrators
    "nav": "Pages",
    "copy": "Copy",
    "admin.title": "OAuth apps",
    "admin.intro": "Where people can connect their accounts, and how that is.",
    "admin.add": "Add",
    "admin.none": "There is no OAuth app yet.",
    "admin.ready": "People can connect",
    "admin.secret": "Replace the client secret",
    "admin.secret.save": "Replace",
    "count.active": "{number} connected",
    "count.pending": "{number} not yet",
    "count.expired": "{number} expired",
    "count.revoked": "{number} revoked",
    "origin.argo": "Kept by Argo CD, application {name}: change it there.",
    "origin.flux": "Kept by Flux, Kustomization {namespace}/{name}: change it there.",
    "origin.flux.release": "Kept by Flux, HelmRelease {namespace}/{name}: change it there.",
    "origin.helm": "Kept by Helm, release {namespace}/{name}: change it there.",
    "origin.tool": "Kept by {tool}: change it there.",
    "trial.do": "Test",
    "trial.hint": "Tries the provider's addresses, the client's credentials and the redirect URI.",
    "trial.good": "Tested {at}: nothing is wrong.",
    "trial.bad": "Tested {at}: something is wrong.",
    "notice.testing": "{title} is being tested; reload this page in a moment.",
    "people.title": "Who is connected",
    "people.search": "Username",
    "people.search.do": "Search",
    "people.none": "Nobody.",
    "people.more": "And {number} more: search for them.",
    "people.revoke": "Revoke those selected",
    "people.all": "Revoke all …",
    "people.all.body": "Everybody's connection to this app ends, also of those who are not on this page. They have to authorize "
    "again.",
    "people.all.do": "Revoke all of them",
    "people.hint": "Tokens are revoked at the provider, where it permits that, and removed. People can connect again; what is "
    "withheld stays so.",
    "notice.created": "{title} is created. Register the redirect URI at the provider, if you have not yet.",
    "notice.secret": "The client secret of {title} is on its way to its place; then the app is tested.",
    "notice.secret-lost": "The client secret of {title} did not reach the cluster: type it again under Replace the client secret.",
    "notice.changed": "{title} is changed.",
    "notice.changed.again": "{title} is changed. Whoever is connected ({number}) has to sign in again once the present token has "
    "ended.",
    "notice.unchanged": "Nothing about {title} was different, so nothing was changed.",
    "notice.deleted": "{title} is deleted, and all connections to it are ended.",
    "notice.revoked": "Connections to {title} were ended.",
    "notice.none-revoked": "Nobody was selected, so no connection to {title} was ended.",
    "new.title": "Add an OAuth app",
    "new.presets": "Providers",
    "new.create": "Create",
    "new.yaml": "Copy as YAML",
    "new.check": "Check",
    "field.name": "Name",
    "field.namespace": "Namespace",
    "field.identifier": "Identifier",
    "field.identifier.hint": "Part of the redirect URI. Left empty, it is made of the name.",
    "field.redirect": "Redirect URI",
    "field.redirect.hint": "Register exactly this at the provider. Check shows it for what you have typed.",
    "field.issuer": "Issuer URL",
    "field.issuer.hint": "With it, the provider is asked for its addresses, and the next two can stay empty.",
    "field.authorization": "Auth URL",
    "field.token": "Token URL",
    "field.client-id": "Client ID",
    "field.client-secret": "Client Secret",
    "field.client-secret.hint": "Sealed for the controller at once; it is never shown again. Not needed for YAML.",
    "field.client-secret.keep": "Leave it empty to keep the one that is there, which nobody can see here.",
    "field.public": "A public client: it has no secret",
    "field.scopes": "Scopes",
    "field.scopes.hint": "Separated by spaces.",
    "form.generic": "Another provider",
    "form.problems": "Please correct what is marked. The client secret has to be typed again.",
    "form.refused": "The cluster does not accept this app: a rule of the cluster, or a policy, speaks against it. Nothing was "
    "created.",
    "form.refused.change": "The cluster does not accept this change: a rule of the cluster, or a policy, speaks against it. "
    "Nothing was changed.",
    "form.session": "Your session had ended, so nothing was changed. What you typed is here again, but for the client secret: look "
    "it over, and send it once more.",
    "form.taken": "There is an app with this identifier in this namespace already: choose another.",
    "form.namespace": "Choose one of the namespaces that the operator looks after.",
    "form.title": "Write a name of 1 to 80 characters.",
    "form.name": "Write lower-case letters, digits and hyphens, at most 63, a letter or digit first and last.",
    "form.client-id": "Copy the client ID that the provider showed when you registered.",
    "form.client-secret": "Copy the client secret that the provider showed when you registered, or say that there is none.",
    "form.client-secret.moved": "This sends the client secret to another place than before: type the one that belongs there. The "
    "one that is there now is not sent.",
    "form.scopes": "Write scopes without quotation marks or backslashes, separated by spaces.",
    "form.parameter": "Write {advice}.",
    "form.url": "Write an absolute https:// address, because credentials travel there.",
    "form.endpoints": "Write the issuer URL, or both the Auth URL and the Token URL.",
    # changing an app
    "edit.do": "Change",
    "edit.do.kept": "Prepare a change",
    "edit.title": "Change {title}",
    "edit.intro": "Connected now: {number}. With another client ID or another token endpoint none of these connections is renewed "
    "any more: each lasts as long as its present token, and then the person has to sign in again. Nothing else here interrupts "
    "anybody.",
    "edit.intro.nobody": "Nobody is connected now, so whatever you change interrupts nobody.",
    "edit.kept": "Here you can write the change as YAML for there.",
    "edit.fixed": "It stays: identifier and namespace of an app cannot be changed.",
    "edit.scopes": "Separated by spaces. Who is connected keeps what was granted; new scopes count from the next sign-in.",
    "edit.agreed": "Everybody who is connected may have to sign in again",
    "edit.signs-out": "Everybody who is connected ({number}) will have to sign in again: tokens are sent to no other client and no "
    "other token endpoint than they came from, so none is renewed any more. Each lasts until it ends.",
    "edit.may-sign-out": "If the token endpoint is another one then, everybody who is connected ({number}) will have to sign in "
    "again: tokens are sent to no other place than they came from, so none is renewed any more. Each lasts until it ends.",
    "edit.save": "Save",
    "edit.cancel": "Leave it as it is",
    "edit.conflict": "Somebody changed this app after you opened this page, so nothing was saved. What you typed is still here; "
    "what the app says now stands where it differs. Save once more to put yours in its place. The client secret has to be typed "
    "again.",
    "edit.theirs": "The app now says: {value}",
    "edit.gone": "Somebody deleted this app after you opened this page. What you typed is still here: Create makes a new app of "
    "it, to which nobody is connected. The client secret has to be typed again.",
    "edit.unavailable": "The cluster did not take the request. What you typed is still here: try again in a moment. The client "
    "secret has to be typed again.",
    # deleting an app
    "delete.do": "Delete",
    "delete.title": "Delete {title}?",
    "delete.people": "Everybody who is connected ({number}) is disconnected, and their tokens are revoked at the provider, where "
    "it permits that.",
    "delete.nobody": "Nobody is connected.",
    "delete.then.ServiceAccount": "What people ask Cube then runs with the service account's permissions, not with theirs.",
    "delete.then.Deny": "Until now, Cube refuses what people ask of this data source unless they are connected. Without the app "
    "nothing refuses it: what they ask then runs with the service account's permissions, if Cube has one.",
    "delete.rest": "A client secret that was typed in here is deleted, too; a Secret that somebody made by hand stays, and so does "
    "the registration at the provider. What an administrator suspended stays suspended, should the app come back.",
    "delete.type": "Type {name} to confirm",
    "delete.confirm": "Nothing was deleted: write exactly {name} here.",
    "delete.conflict": "Somebody changed this app after you opened this page, so nothing was deleted. Look once more.",
    "yaml.change": "What changes, for the repository that the app comes from (null: remove the line). A patch for Kustomize reads "
    "the same:",
    "yaml.change.secret": "The client secret has to be another one then, too: replace it where the Secret comes from, together "
    "with this.",
    "yaml.nothing": "Nothing is different from what the app says now.",
    "yaml.title": "{title} as YAML",
    "yaml.app": "The OAuthApp, for your repository:",
    "yaml.secret": "The client secret, once for each cluster, from a terminal; its value stays out of the shell's history:",
    # why, beside the controller's own reasons
    "reason.unknown": "The reason is {reason}.",
    "reason.exchange": "The token exchange failed (spec.tokenExchange). {why}",
    "reason.parameter": "spec.provider.parameters: write {advice} for {name}.",
    "reason.parameter.unknown": "spec.provider.parameters: the preset knows no {name}; remove it.",
    "nameless.claim": "the claim {claim} is missing, or is no text",
    "nameless.unverified": "it says that the e-mail address was not verified",
    "nameless.header": "the header {header} is missing, is there twice, or holds a comma",
    "refused.KeptElsewhere.title": "{title} is kept elsewhere",
    "refused.KeptElsewhere.body": "What keeps it, or its client secret, is not this portal, so nothing was changed. Change it "
    "there.",
    "retry.connect": "Start again",
    "retry.login": "Log in",
    **ENGLISH_REASONS,
}

"""The catalogue in German."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GERMAN: Mapping[str, str] = {
    # every page
    "product": "Cube-Verbindungen",
    "skip": "Zum Inhalt springen",
    "account": "Angemeldet als",
    "log-in": "Anmelden",
    "log-out": "Abmelden",
    "home": "Alle verbundenen Apps",
    # the front page before the log-in
    "welcome.title": "Abfragen als Sie selbst",
    "welcome.body": "Verbinden Sie Ihr eigenes Konto einmal mit jeder Datenquelle. Von da an läuft, was Sie Cube fragen, mit Ihren "
    "eigenen Rechten, und die Verbindung erneuert sich von selbst.",
    # connected apps
    "apps.title": "Verbundene Apps",
    "apps.intro": "Mit einem verbundenen Konto läuft, was Sie Cube fragen, in dieser Datenquelle mit Ihren eigenen Rechten.",
    "apps.none": "Es gibt keine App, die Sie verbinden dürfen.",
    "apps.none.hint": "Bitten Sie Ihre Cube-Administration, Ihnen eine freizugeben.",
    "app.in": "{data_source} in {namespace}",
    "app.authorize": "Verbinden",
    "app.reconnect": "Neu verbinden",
    "app.disconnect": "Trennen",
    "state.active": "Verbunden als <strong>{subject}</strong>",
    "state.active.until": "Verbunden als <strong>{subject}</strong>, bis {until}",
    "state.active.renewed": "Erneuert sich von selbst.",
    "state.active.renewed.until": "Erneuert sich bis dahin von selbst; danach verbinden Sie neu.",
    "state.active.last": "Kann nicht erneuert werden: Verbinden Sie neu, wenn sie abgelaufen ist.",
    "state.expired": "Abgelaufen: neu verbinden",
    "state.expired.at": "Abgelaufen {at}: neu verbinden",
    "state.expired.hint": "Bis dahin nutzen Sie nicht Ihr eigenes Konto.",
    "state.revoked": "Beendet: neu verbinden",
    "state.revoked.hint": "Der Anbieter sagt, dass diese Verbindung beendet ist.",
    "state.suspended": "Zurückgehalten",
    "state.suspended.hint": "Die Administration hat diese Verbindung ausgesetzt.",
    "state.pending": "Nicht verbunden",
    "state.pending.hint": "Sie werden beim Anbieter gefragt und kommen hierher zurück.",
    "state.failed.hint": "Der letzte Versuch ist nicht gelungen. {why}",
    "state.setting-up": "Wird eingerichtet",
    "state.setting-up.hint": "Laden Sie diese Seite gleich noch einmal.",
    "state.unavailable": "Nicht verfügbar",
    "state.unavailable.hint": "Für Ihre Cube-Administration: {why}",
    "warning.ends": "Diese Verbindung endet {at}. Verbinden Sie jetzt neu, dann wird nichts unterbrochen.",
    "used.never": "Noch nicht genutzt.",
    "used.last": "Zuletzt genutzt: {at}.",
    "used.refreshed": "Erneuert: {at}.",
    "scopes.may": "Was sie darf",
    "time.day": "{day}. {month}",
    "time.year": "{day}. {month} {year}",
    "time.yesterday": "gestern, {clock} UTC",
    "time.today": "heute, {clock} UTC",
    "time.tomorrow": "morgen, {clock} UTC",
    "months": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    # what just happened
    "notice.connected": "{title} ist verbunden. Was Sie Cube fragen, läuft dort jetzt mit Ihren eigenen Rechten.",
    "notice.waiting": "Sie haben {title} zugestimmt. Die Verbindung wird hergestellt; laden Sie diese Seite gleich noch einmal.",
    "notice.disconnected": "{title} ist getrennt. Ihre Token sind beim Anbieter widerrufen und hier gelöscht; was Sie Cube fragen, "
    "läuft dort nicht mehr mit Ihren Rechten.",
    "notice.nothing": "{title} war nicht verbunden.",
    # one app
    "connect.title": "{title} verbinden",
    "connect.body": "Es geht weiter zu <strong>{host}</strong>; dort werden Sie gefragt, ob Cube für Sie handeln darf, und kommen "
    "hierher zurück.",
    "connect.who": "Nehmen Sie das Konto, das zu <strong>{username}</strong> gehört.",
    "connect.done": "Sie sind schon verbunden. Eine neue Zustimmung ersetzt die Verbindung.",
    "connect.back": "Zurück zu {host}",
    "connect.then": "Danach geht es zurück zu {host}.",
    "connect.scopes": "Was sie dann darf",
    # what scopes permit
    "scope.openid": "Wissen, wer Sie dort sind",
    "scope.profile": "Ihren Namen sehen",
    "scope.email": "Ihre E-Mail-Adresse sehen",
    "scope.offline_access": "Erneuert werden, während Sie weg sind",
    "scope.databricks.all-apis": "In Databricks alles nutzen, was Sie nutzen dürfen",
    "scope.databricks.sql": "SQL in Databricks als Sie ausführen",
    "scope.snowflake.refresh_token": "Erneuert werden, während Sie weg sind",
    "scope.google.https://www.googleapis.com/auth/bigquery": "Ihre Daten in BigQuery sehen und ändern",
    "scope.google.https://www.googleapis.com/auth/bigquery.readonly": "Ihre Daten in BigQuery sehen",
    # ending a connection
    "disconnect.title": "{title} trennen?",
    "disconnect.body": "Ihre Token werden beim Anbieter widerrufen, wo er das erlaubt, und hier sofort gelöscht.",
    "disconnect.then.ServiceAccount": "Was Sie Cube fragen, läuft dann mit den Rechten des Dienstkontos, nicht mit Ihren.",
    "disconnect.then.Deny": "Cube lehnt dann ab, was Sie diese Datenquelle fragen, bis Sie wieder verbinden.",
    "disconnect.keep": "Behalten",
    "disconnect.none": "Sie sind nicht mit {title} verbunden; es gibt nichts zu trennen.",
    # on the way to the provider
    "leave.title": "Auf dem Weg zu {title}",
    "leave.body": "Sie werden zu <strong>{host}</strong> weitergeleitet.",
    "leave.link": "Weiter zu {host}",
    # refusals: what happened, and what to do
    "refused.AccessDenied.title": "Es wurde nichts verbunden",
    "refused.AccessDenied.body": "Sie oder der Anbieter haben zu {title} Nein gesagt. Wenn nicht Sie es waren, bitten Sie die "
    "Administration des Anbieters, Ihnen diese Anwendung zu erlauben.",
    "refused.LoginRequired.title": "Der Anbieter möchte Sie sehen",
    "refused.LoginRequired.body": "Sie sollen sich dort anmelden oder etwas zustimmen, bevor {title} verbunden werden kann. "
    "Beginnen Sie noch einmal, und folgen Sie seinen Seiten.",
    "refused.ProviderUnavailable.title": "Der Anbieter ist nicht erreichbar",
    "refused.ProviderUnavailable.body": "Der Anbieter hat gerade selbst einen Fehler. Versuchen Sie es in ein paar Minuten wieder.",
    "refused.ProviderRefused.title": "Der Anbieter hat die Anfrage abgelehnt",
    "refused.ProviderRefused.body": "Er nimmt die Anfrage für {title} nicht an. Noch ein Versuch hilft kaum: Sagen Sie Ihrer "
    "Cube-Administration Bescheid. Der Grund ist {reason}.",
    "refused.StateUnknown.title": "Diese Antwort gehört nicht Ihnen",
    "refused.StateUnknown.body": "Sie wurde nicht in diesem Browser und dieser Sitzung angefragt, oder sie wurde schon benutzt, "
    "oder es sind mehr als zehn Minuten vergangen. Es wurde nichts verbunden. Beginnen Sie noch einmal, und öffnen Sie keine Links "
    "auf diese Seite, die Ihnen jemand geschickt hat.",
    "refused.AnswerInvalid.title": "Der Antwort ist nicht zu trauen",
    "refused.AnswerInvalid.body": "Sie ist unvollständig, oder sie kommt nicht von dem Anbieter, der gefragt wurde. Es wurde "
    "nichts verbunden. Beginnen Sie noch einmal; geschieht es wieder, sagen Sie Ihrer Cube-Administration Bescheid.",
    "refused.Replayed.title": "Diese Antwort wurde schon benutzt",
    "refused.Replayed.body": "Eine Antwort des Anbieters zählt einmal. Wenn Sie sie nicht selbst zweimal geöffnet haben, sehen Sie "
    "nach, ob Sie verbunden sind, trennen Sie, und sagen Sie Ihrer Cube-Administration Bescheid.",
    "refused.AppChanged.title": "{title} hat sich inzwischen geändert",
    "refused.AppChanged.body": "Die Einstellungen wurden geändert, während Sie beim Anbieter waren; die Antwort wurde darum nicht "
    "benutzt. Beginnen Sie noch einmal.",
    "refused.AppNotReady.title": "{title} ist nicht verfügbar",
    "refused.AppNotReady.body": "{why} Es wurde nichts geändert.",
    "refused.NoSuchApp.title": "Diese App gibt es nicht",
    "refused.NoSuchApp.body": "Es gibt sie nicht, oder Sie dürfen sie nicht verbinden. Fragen Sie Ihre Cube-Administration.",
    "refused.Suspended.title": "Diese Verbindung wird zurückgehalten",
    "refused.Suspended.body": "Die Administration hat Ihre Verbindung zu {title} ausgesetzt. Fragen Sie Ihre Cube-Administration.",
    "refused.NameTaken.title": "Es wurde nichts verbunden",
    "refused.NameTaken.body": "Der Name Ihrer Verbindung ist in diesem Namespace anders vergeben. Sagen Sie Ihrer "
    "Cube-Administration, dass UserCredential {name} entfernt werden muss.",
    "refused.GrantRefused.title": "Es wurde nichts verbunden",
    "refused.GrantRefused.body": "Sie haben {title} zugestimmt, aber die Antwort war nicht zu gebrauchen. {why}",
    "refused.ClusterUnavailable.title": "Gerade nicht erreichbar",
    "refused.ClusterUnavailable.body": "Der Cluster hat die Anfrage nicht angenommen. Versuchen Sie es gleich noch einmal.",
    "refused.LogInFailed.title": "Sie sind nicht angemeldet",
    "refused.LogInFailed.body": "Die Antwort der Anmeldung ist nicht zu gebrauchen. Melden Sie sich noch einmal an; geschieht es "
    "wieder, sagen Sie Ihrer Cube-Administration Bescheid. Der Grund ist {reason}.",
    "refused.LogInDenied.title": "Sie sind nicht angemeldet",
    "refused.LogInDenied.body": "Die Anmeldung wurde abgebrochen, oder Sie werden hier nicht eingelassen.",
    "refused.LogInUnavailable.title": "Anmelden ist gerade nicht möglich",
    "refused.LogInUnavailable.body": "Der Anmeldedienst antwortet nicht. Versuchen Sie es in ein paar Minuten wieder.",
    "refused.LogInOver.title": "Diese Anmeldung ist vorbei",
    "refused.LogInOver.body": "Sie wurde nicht in diesem Browser begonnen, oder sie wurde schon benutzt, oder es sind mehr als "
    "zehn Minuten vergangen. Melden Sie sich noch einmal an.",
    "refused.Nameless.title": "Wir können Sie nicht unterscheiden",
    "refused.Nameless.body": "Die Antwort der Anmeldung enthält keinen brauchbaren Benutzernamen ({why}). Sagen Sie Ihrer "
    "Cube-Administration Bescheid.",
    "refused.SessionOver.title": "Ihre Sitzung ist zu Ende",
    "refused.SessionOver.body": "Sie waren eine Weile weg und wurden abgemeldet. Es wurde nichts geändert. Melden Sie sich an, und "
    "beginnen Sie noch einmal.",
    "refused.ForeignForm.title": "Diese Anfrage kam nicht von hier",
    "refused.ForeignForm.body": "Das Formular stammt aus einer anderen Sitzung oder von einer anderen Website; es wurde darum "
    "nichts geändert. Gehen Sie zurück zu Ihren Apps, und drücken Sie dort den Knopf.",
    "refused.NotFound.title": "Diese Seite gibt es nicht",
    "refused.NotFound.body": "Die Adresse führt nirgendwohin.",
    "refused.BadRequest.title": "Diese Anfrage ist nicht lesbar",
    "refused.BadRequest.body": "Gehen Sie zurück zu Ihren Apps, und beginnen Sie dort.",
    "refused.Failure.title": "Hier ist etwas schiefgegangen",
    "refused.Failure.body": "Es steht im Protokoll des Portals. Versuchen Sie es gleich noch einmal.",
    "refused.TooMany.title": "Zu viele Anfragen",
    "refused.TooMany.body": "Das war mehr, als ein Mensch tut. Es wurde nichts geändert. Warten Sie eine Minute, und versuchen Sie "
    "es noch einmal.",
    "retry.connect": "Noch einmal beginnen",
    "retry.login": "Anmelden",
}

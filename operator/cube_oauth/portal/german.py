"""The catalogue in German."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.portal.germanreasons import GERMAN_REASONS

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
    "logged-out.title": "Sie sind abgemeldet",
    "logged-out.body": "Bei <strong>{host}</strong> sind Sie vielleicht noch angemeldet; dann lässt „Anmelden“ Sie ohne Frage "
    "wieder ein. An einem Computer, den auch andere nutzen, melden Sie sich auch dort ab.",
    "logged-out.there": "Bei {host} abmelden",
    # connected apps
    "apps.title": "Verbundene Apps",
    "apps.intro": "Mit einem verbundenen Konto läuft, was Sie Cube fragen, in dieser Datenquelle mit Ihren eigenen Rechten.",
    "apps.calling": "Neu zu verbinden ({number}):",
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
    "state.withdrawn.hint": "Sie wurde auf unserer Seite zurückgezogen, und die Tokens wurden widerrufen.",
    "state.idle": "Verbunden, zurzeit nicht benutzt",
    "state.idle.hint": "Mit der nächsten Frage an Cube wird die Verbindung erneuert.",
    "state.delayed": "Wird erneuert",
    "state.delayed.hint": "Der Anbieter erneuert sie gerade nicht. Es wird von selbst wieder versucht; bis dahin nutzen Sie "
    "nicht Ihr eigenes Konto.",
    "state.suspended": "Zurückgehalten",
    "state.suspended.hint": "Die Administration hat diese Verbindung ausgesetzt.",
    "state.pending": "Nicht verbunden",
    "state.pending.hint": "Sie werden beim Anbieter gefragt und kommen hierher zurück.",
    "state.failed.hint": "Der letzte Versuch ist nicht gelungen. {why}",
    "state.connecting": "Wird verbunden",
    "state.connecting.hint": "Sie haben zugestimmt, aber die Verbindung ist noch nicht da. {why}",
    "state.setting-up": "Wird eingerichtet",
    "state.setting-up.hint": "Laden Sie diese Seite gleich noch einmal.",
    "state.unavailable": "Nicht verfügbar",
    "state.unavailable.hint": "Für Ihre Cube-Administration: {why}",
    "warning.ends": "Diese Verbindung endet {at}: Verbinden Sie jetzt neu, dann wird nichts unterbrochen.",
    "used.never": "Noch nicht genutzt",
    "used.last": "Zuletzt genutzt: {at}",
    "used.refreshed": "Erneuert: {at}",
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
    "refused.NoCookies.title": "Ihr Browser schickt hier keine Cookies",
    "refused.NoCookies.body": "Das Portal merkt sich in eigenen Cookies, was Sie begonnen haben, und mit dieser Anfrage kam "
    "keines. Erlauben Sie Cookies für diese Website, und beginnen Sie noch einmal; oder Sie haben in einem Browser geöffnet, was "
    "in einem anderen begonnen wurde. Es wurde nichts geändert.",
    "refused.Nameless.title": "Wir können Sie nicht unterscheiden",
    "refused.Nameless.body": "Die Antwort der Anmeldung enthält keinen brauchbaren Benutzernamen ({why}). Sagen Sie Ihrer "
    "Cube-Administration Bescheid.",
    "refused.NotThroughProxy.title": "Hier geht es nicht hinein",
    "refused.NotThroughProxy.body": "Das Portal ist nur über seinen Anmelde-Proxy offen. Rufen Sie es über seine öffentliche "
    "Adresse auf.",
    "refused.SessionOver.title": "Ihre Sitzung ist zu Ende",
    "refused.SessionOver.body": "Sie waren eine Weile weg und wurden abgemeldet. Es wurde nichts geändert. Melden Sie sich an, und "
    "beginnen Sie noch einmal.",
    "refused.TypingKept.title": "Ihre Sitzung ist zu Ende",
    "refused.TypingKept.body": "Es wurde nichts geändert. Was Sie eingegeben haben, steht noch auf dieser Seite, nur das "
    "Client-Secret nicht. Melden Sie sich in einem anderen Tab an, kommen Sie hierher zurück, und machen Sie weiter.",
    "kept.log-in": "Anmelden (in einem neuen Tab)",
    "kept.go-on": "Mit meinen Eingaben weitermachen",
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
    # for administrators
    "nav": "Seiten",
    "copy": "Kopieren",
    "admin.title": "OAuth-Apps",
    "admin.intro": "Womit sich Menschen verbinden können, und wie es darum steht.",
    "admin.add": "Hinzufügen",
    "admin.none": "Es gibt noch keine OAuth-App.",
    "admin.ready": "Verbinden ist möglich",
    "admin.secret": "Client-Secret ersetzen",
    "admin.secret.save": "Ersetzen",
    "count.active": "{number} verbunden",
    "count.pending": "{number} noch nicht",
    "count.expired": "{number} abgelaufen",
    "count.revoked": "{number} widerrufen",
    "origin.argo": "Verwaltet von Argo CD, Anwendung {name}: dort ändern.",
    "origin.flux": "Verwaltet von Flux, Kustomization {namespace}/{name}: dort ändern.",
    "origin.flux.release": "Verwaltet von Flux, HelmRelease {namespace}/{name}: dort ändern.",
    "origin.helm": "Verwaltet von Helm, Release {namespace}/{name}: dort ändern.",
    "origin.tool": "Verwaltet von {tool}: dort ändern.",
    "trial.do": "Testen",
    "trial.hint": "Prüft die Adressen des Anbieters, die Zugangsdaten des Clients und die Redirect-URI.",
    "trial.good": "Getestet {at}: alles in Ordnung.",
    "trial.bad": "Getestet {at}: etwas stimmt nicht.",
    "notice.testing": "{title} wird getestet; laden Sie diese Seite gleich noch einmal.",
    "people.title": "Wer verbunden ist",
    "people.search": "Benutzername",
    "people.search.do": "Suchen",
    "people.none": "Niemand.",
    "people.more": "Und {number} weitere: Suchen Sie danach.",
    "people.revoke": "Ausgewählte widerrufen",
    "people.all": "Alle widerrufen …",
    "people.all.body": "Alle Verbindungen mit dieser App enden, auch die nicht auf dieser Seite stehen. Alle müssen neu zustimmen.",
    "people.all.do": "Alle widerrufen",
    "people.hint": "Token werden beim Anbieter widerrufen, wo er das erlaubt, und gelöscht. Wer will, kann neu verbinden; was "
    "zurückgehalten wird, bleibt es.",
    "notice.created": "{title} ist angelegt. Tragen Sie die Redirect-URI beim Anbieter ein, falls noch nicht geschehen.",
    "notice.secret": "Das Client-Secret von {title} ist auf dem Weg an seinen Platz; dann wird die App getestet.",
    "notice.secret-lost": "Das Client-Secret von {title} ist nicht im Cluster angekommen: Geben Sie es unter „Client-Secret "
    "ersetzen“ noch einmal ein.",
    "notice.changed": "{title} ist geändert.",
    "notice.changed.again": "{title} ist geändert. Wer verbunden ist ({number}), muss sich neu anmelden, sobald das jetzige Token "
    "abgelaufen ist.",
    "notice.unchanged": "An {title} war nichts anders; es wurde nichts geändert.",
    "notice.deleted": "{title} ist gelöscht, und alle Verbindungen damit sind beendet.",
    "notice.revoked": "Verbindungen mit {title} wurden beendet.",
    "notice.none-revoked": "Es war niemand ausgewählt; keine Verbindung mit {title} wurde beendet.",
    "new.title": "Eine OAuth-App hinzufügen",
    "new.presets": "Anbieter",
    "new.create": "Anlegen",
    "new.yaml": "Als YAML kopieren",
    "new.check": "Prüfen",
    "field.name": "Name",
    "field.namespace": "Namespace",
    "field.identifier": "Kennung",
    "field.identifier.hint": "Teil der Redirect-URI. Leer gelassen, wird sie aus dem Namen gebildet.",
    "field.redirect": "Redirect-URI",
    "field.redirect.hint": "Genau diese beim Anbieter eintragen. „Prüfen“ zeigt sie für das, was Sie eingegeben haben.",
    "field.issuer": "Issuer-URL",
    "field.issuer.hint": "Damit wird der Anbieter nach seinen Adressen gefragt; die nächsten beiden können leer bleiben.",
    "field.authorization": "Auth-URL",
    "field.token": "Token-URL",
    "field.client-id": "Client-ID",
    "field.client-secret": "Client-Secret",
    "field.client-secret.hint": "Wird sofort für den Controller versiegelt und nie wieder angezeigt. Für YAML nicht nötig.",
    "field.client-secret.keep": "Leer lassen, um das vorhandene zu behalten; sehen kann es hier niemand.",
    "field.public": "Ein öffentlicher Client: Er hat kein Secret",
    "field.scopes": "Scopes",
    "field.scopes.hint": "Durch Leerzeichen getrennt.",
    "form.generic": "Anderer Anbieter",
    "form.problems": "Bitte verbessern Sie, was markiert ist. Das Client-Secret ist noch einmal einzugeben.",
    "form.refused": "Der Cluster nimmt diese App nicht an: Eine seiner Regeln spricht dagegen. Es wurde nichts angelegt.",
    "form.refused.change": "Der Cluster nimmt diese Änderung nicht an: Eine seiner Regeln spricht dagegen. Es wurde nichts "
    "geändert.",
    "form.session": "Ihre Sitzung war zu Ende, darum wurde nichts geändert. Was Sie eingegeben haben, steht wieder hier, nur das "
    "Client-Secret nicht: Sehen Sie es durch, und senden Sie es noch einmal.",
    "form.taken": "In diesem Namespace gibt es schon eine App mit dieser Kennung: Wählen Sie eine andere.",
    "form.namespace": "Wählen Sie einen der Namespaces, um die sich der Operator kümmert.",
    "form.title": "Schreiben Sie einen Namen mit 1 bis 80 Zeichen.",
    "form.name": "Kleinbuchstaben, Ziffern und Bindestriche, höchstens 63; am Anfang und Ende ein Buchstabe oder eine Ziffer.",
    "form.client-id": "Kopieren Sie die Client-ID, die der Anbieter bei der Registrierung gezeigt hat.",
    "form.client-secret": "Kopieren Sie das Client-Secret vom Anbieter, oder sagen Sie, dass es keines gibt.",
    "form.client-secret.moved": "Damit ginge das Client-Secret an einen anderen Ort als bisher: Geben Sie das ein, das dorthin "
    "gehört. Das vorhandene wird nicht dorthin geschickt.",
    "form.scopes": "Scopes ohne Anführungszeichen und Backslash, durch Leerzeichen getrennt.",
    "form.parameter": "Einzutragen: {advice}.",
    "form.url": "Schreiben Sie eine vollständige https://-Adresse, denn dorthin gehen Zugangsdaten.",
    "form.endpoints": "Schreiben Sie die Issuer-URL, oder Auth-URL und Token-URL.",
    # changing an app
    "edit.do": "Ändern",
    "edit.do.kept": "Änderung vorbereiten",
    "edit.title": "{title} ändern",
    "edit.intro": "Verbunden sind jetzt: {number}. Mit einer anderen Client-ID oder einem anderen Token-Endpunkt wird keine dieser "
    "Verbindungen mehr erneuert: Jede hält, so lange ihr jetziges Token hält, und dann muss man sich neu anmelden. Sonst "
    "unterbricht nichts auf dieser Seite jemanden.",
    "edit.intro.nobody": "Jetzt ist niemand verbunden; was Sie ändern, unterbricht niemanden.",
    "edit.kept": "Hier können Sie die Änderung als YAML für dort schreiben.",
    "edit.fixed": "Sie bleibt: Kennung und Namespace einer App sind nicht zu ändern.",
    "edit.scopes": "Durch Leerzeichen getrennt. Wer verbunden ist, behält, was ihm gewährt wurde; neue Scopes gelten ab der "
    "nächsten Anmeldung.",
    "edit.agreed": "Alle, die verbunden sind, müssen sich dann vielleicht neu anmelden",
    "edit.signs-out": "Alle, die verbunden sind ({number}), müssen sich dann neu anmelden: Token gehen an keinen anderen Client "
    "und keinen anderen Token-Endpunkt als den, von dem sie kamen; darum wird keines mehr erneuert. Jedes hält, bis es abläuft.",
    "edit.may-sign-out": "Wenn der Token-Endpunkt dann ein anderer ist, müssen sich alle, die verbunden sind ({number}), neu "
    "anmelden: Token gehen an keinen anderen Ort als den, von dem sie kamen; darum wird keines mehr erneuert. Jedes hält, bis es "
    "abläuft.",
    "edit.save": "Speichern",
    "edit.cancel": "So lassen",
    "edit.conflict": "Jemand hat diese App geändert, nachdem Sie diese Seite geöffnet hatten; es wurde darum nichts gespeichert. "
    "Was Sie eingegeben haben, steht noch hier, und wo die App jetzt etwas anderes sagt, steht es dabei. „Speichern“ setzt Ihres "
    "an die Stelle. Das Client-Secret ist noch einmal einzugeben.",
    "edit.theirs": "Die App sagt jetzt: {value}",
    "edit.gone": "Jemand hat diese App gelöscht, nachdem Sie diese Seite geöffnet hatten. Was Sie eingegeben haben, steht noch "
    "hier: „Anlegen“ macht daraus eine neue App, mit der niemand verbunden ist. Das Client-Secret ist noch einmal einzugeben.",
    "edit.unavailable": "Der Cluster hat die Anfrage nicht angenommen. Was Sie eingegeben haben, steht noch hier: Versuchen Sie es "
    "gleich noch einmal. Das Client-Secret ist noch einmal einzugeben.",
    # deleting an app
    "delete.do": "Löschen",
    "delete.title": "{title} löschen?",
    "delete.people": "Alle, die verbunden sind ({number}), werden getrennt, und ihre Token beim Anbieter widerrufen, wo er das "
    "erlaubt.",
    "delete.nobody": "Niemand ist verbunden.",
    "delete.then.ServiceAccount": "Was jemand Cube fragt, läuft dann mit den Rechten des Dienstkontos, nicht mit den eigenen.",
    "delete.then.Deny": "Bisher lehnt Cube ab, was jemand diese Datenquelle fragt, der nicht verbunden ist. Ohne die App lehnt es "
    "niemand mehr ab: Es läuft dann mit den Rechten des Dienstkontos, wenn Cube eines hat.",
    "delete.rest": "Ein hier eingegebenes Client-Secret wird mit gelöscht; ein von Hand angelegtes Secret bleibt, und auch die "
    "Registrierung beim Anbieter. Was ausgesetzt ist, bleibt ausgesetzt, sollte die App wiederkommen.",
    "delete.type": "Zur Bestätigung {name} eingeben",
    "delete.confirm": "Es wurde nichts gelöscht: Schreiben Sie hier genau {name}.",
    "delete.conflict": "Jemand hat diese App geändert, nachdem Sie diese Seite geöffnet hatten; es wurde darum nichts gelöscht. "
    "Sehen Sie noch einmal hin.",
    "yaml.change": "Was sich ändert, für das Repository, aus dem die App kommt (null: Zeile entfernen). So liest es auch Kustomize "
    "als Patch:",
    "yaml.change.secret": "Auch das Client-Secret muss dann ein anderes sein: Ersetzen Sie es dort, woher das Secret kommt, "
    "zusammen mit dieser Änderung.",
    "yaml.nothing": "Nichts ist anders, als die App es jetzt sagt.",
    "yaml.title": "{title} als YAML",
    "yaml.app": "Die OAuthApp für Ihr Repository:",
    "yaml.secret": "Das Client-Secret, einmal je Cluster, im Terminal; der Wert bleibt aus der Shell-History heraus:",
    # why, beside the controller's own reasons
    "reason.unknown": "Der Grund ist {reason}.",
    "reason.exchange": "Der Tausch des Tokens ist misslungen (spec.tokenExchange). {why}",
    "reason.parameter": "spec.provider.parameters: Für {name} einzutragen: {advice}.",
    "reason.parameter.unknown": "spec.provider.parameters: {name} kennt die Vorlage nicht; entfernen Sie es.",
    "nameless.claim": "der Claim {claim} fehlt oder ist kein Text",
    "nameless.unverified": "er sagt, dass die E-Mail-Adresse nicht bestätigt ist",
    "nameless.header": "der Header {header} fehlt, ist doppelt da oder enthält ein Komma",
    "refused.KeptElsewhere.title": "{title} wird anderswo verwaltet",
    "refused.KeptElsewhere.body": "Die App oder ihr Client-Secret wird nicht hier verwaltet; es wurde nichts geändert. Ändern Sie "
    "es dort.",
    "retry.connect": "Noch einmal beginnen",
    "retry.login": "Anmelden",
    **GERMAN_REASONS,
}

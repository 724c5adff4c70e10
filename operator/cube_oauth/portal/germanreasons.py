"""The controller's sentences and the presets' words in German; the English ones are generated (``reasontexts.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_AGAIN = "Verbinden Sie noch einmal."

_PROVIDER = {
    # the user's
    "InvalidGrant": "Der Anbieter sagt, dass diese Anmeldung vorbei ist (abgelaufen, widerrufen oder schon benutzt). Im Portal neu "
    "verbinden.",
    "InteractionRequired": "Der Anbieter verlangt eine neue Anmeldung oder Zustimmung, etwa wegen einer Regel für bedingten "
    "Zugriff. Im Portal neu verbinden. Eine Anmeldung, die es gibt, bleibt und geht von selbst weiter, sobald die Regel es "
    "erlaubt: sie wird wieder versucht, immer seltener.",
    "AccessDenied": "Der Anbieter hat dieser Person den Zugriff verweigert. Bitten Sie die Administration des Anbieters, ihr die "
    "Anwendung zu erlauben; wer gerade verbindet, verbindet danach noch einmal. Eine Anmeldung, die es gibt, bleibt und geht von "
    "selbst weiter, sobald die Regel es erlaubt: sie wird wieder versucht, immer seltener.",
    "SubjectChanged": "Der Anbieter hat diese Anmeldung für jemand anders erneuert als für die Person, die zugestimmt hat (OpenID "
    "Connect Core, Abschnitt 12.2); was er gab, wurde widerrufen. Im Portal neu verbinden.",
    "TokenNotExchanged": "Das Warehouse gibt für das Token des Anbieters kein eigenes (spec.tokenExchange). Es muss diese Person "
    "kennen, dem Anbieter trauen und die Audience des Tokens annehmen. Eine Anmeldung bleibt und wird wieder versucht; wer gerade "
    "verbindet, verbindet noch einmal.",
    # the app's
    "InvalidClient": "Der Anbieter nimmt ID, Secret oder Authentifizierung des Clients nicht an. Vergleichen Sie spec.clientID, "
    "das Secret aus spec.clientSecretRef und spec.clientAuthentication mit der Registrierung beim Anbieter.",
    "UnauthorizedClient": "Der Anbieter erlaubt diesem Client diesen Grant nicht. Schalten Sie beim Anbieter Authorization Code "
    "und Refresh Token für den Client frei.",
    "UnsupportedGrantType": "Der Token-Endpunkt des Anbieters kennt diesen Grant nicht. Prüfen Sie spec.tokenURL, und was die "
    "Registrierung des Clients beim Anbieter erlaubt.",
    "InvalidScope": "Der Anbieter gewährt die verlangten Scopes nicht. Vergleichen Sie spec.scopes mit dem, was er dem Client "
    "erlaubt.",
    "InvalidTarget": "Der Anbieter kennt die verlangte Ressource nicht (RFC 8707). Verbessern Sie den Parameter resource oder "
    "audience in spec.authorizationParameters, spec.tokenParameters und spec.refreshParameters.",
    "InvalidRequest": "Der Anbieter nennt die Anfrage fehlerhaft. Prüfen Sie spec.tokenParameters, spec.refreshParameters, "
    "spec.pkce und spec.clientAuthentication anhand der Dokumentation des Anbieters.",
    "RedirectURIMismatch": "Der Anbieter kennt unsere Redirect-URI nicht. Tragen Sie status.redirectURI der OAuthApp beim Anbieter "
    "ein, genau so.",
    "UnsupportedTokenType": "Der Anbieter widerruft Token dieser Art nicht (RFC 7009, Abschnitt 2.2.1). Widerrufen Sie die "
    "Zustimmung beim Anbieter.",
    "EndpointNotFound": "Unter dieser Adresse des Anbieters antwortet nichts auf solche Anfragen. Prüfen Sie spec.tokenURL (oder "
    "spec.issuerURL, oder die Parameter der Vorlage).",
    "Redirected": "Der Endpunkt des Anbieters leitet weiter, und dorthin gehen keine Zugangsdaten mit. Schreiben Sie die "
    "endgültige Adresse in spec.tokenURL (oder spec.issuerURL, oder die Parameter der Vorlage).",
    "AddressRefused": "Der Host des Anbieters hat eine Loopback-, Link-Local-, Metadaten- oder Multicast-Adresse; solche werden "
    "nie gerufen. Schreiben Sie den wirklichen Host des Anbieters, oder lassen Sie die Adresse von der Administration des "
    "Operators erlauben.",
    "InvalidURL": "Eine Adresse des Anbieters ist keine vollständige https://-URL. Verbessern Sie die URLs in spec, oder was das "
    "Discovery-Dokument des Anbieters sagt.",
    "InvalidClientSecret": "Das Client-Secret passt nicht zu spec.clientAuthentication: private_key_jwt braucht einen privaten "
    "Schlüssel (PEM oder JWK, RSA oder EC), basic und post brauchen ein Secret.",
    "IssuerDiffers": "Das Discovery-Dokument des Anbieters nennt einen anderen Issuer. Schreiben Sie spec.issuerURL genau so, wie "
    "der Issuer im Dokument steht; ein Schrägstrich am Ende zählt (OpenID Connect Discovery, Abschnitt 4.3).",
    "InvalidMetadata": "Dem Discovery-Dokument des Anbieters fehlt ein Endpunkt, oder es nennt einen, der keine https://-URL ist. "
    "Setzen Sie spec.authorizationURL und spec.tokenURL statt spec.issuerURL.",
    "InvalidParameters": "spec.provider.parameters enthält nicht, was die Vorlage wissen muss.",
    "EndpointMissing": "Es ist nicht bekannt, wo zugestimmt wird. Setzen Sie spec.issuerURL, oder spec.authorizationURL und "
    "spec.tokenURL, oder wählen Sie in spec.provider.name eine Vorlage.",
    "SubjectEndpointMissing": "Es ist nicht bekannt, wo zu fragen ist, wer zugestimmt hat, wie spec.subject.source es verlangt. "
    "Setzen Sie spec.subject.url, oder spec.issuerURL eines Anbieters, dessen Discovery-Dokument den userinfo_endpoint (oder "
    "introspection_endpoint) nennt.",
    "SubjectTokenMissing": "Die Antwort des Anbieters enthält kein ID-Token, das getauscht werden könnte. Verlangen Sie in "
    "spec.scopes den Scope openid, oder setzen Sie spec.tokenExchange.subjectToken: AccessToken (manche Anbieter geben ein "
    "ID-Token nur bei der ersten Anmeldung).",
    "SubjectNotTold": "Der Anbieter sagt mit diesem Access-Token nicht, wer zugestimmt hat. Verlangen Sie in spec.scopes den Scope "
    "openid, oder setzen Sie spec.subject.source anders.",
    # the weather's
    "Timeout": "Der Anbieter hat nicht rechtzeitig geantwortet. Es wird wieder versucht.",
    "Unreachable": "Der Anbieter ist nicht zu erreichen. Es wird wieder versucht; bleibt es so, prüfen Sie den Host, die "
    "Network-Policies und den Proxy.",
    "HostNotFound": "Der Hostname des Anbieters wird nicht gefunden. Es wird wieder versucht; bleibt es so, prüfen Sie den Host in "
    "der OAuthApp.",
    "CertificateRefused": "Dem TLS-Zertifikat des Anbieters wird nicht getraut. Es wird wieder versucht; hat der Anbieter eine "
    "eigene Zertifizierungsstelle, geben Sie dem Operator deren CA-Datei.",
    "ConnectionLost": "Die Verbindung zum Anbieter ist abgerissen. Es wird wieder versucht.",
    "RateLimited": "Der Anbieter möchte seltener gefragt werden. Es wird wieder versucht, wenn er es erlaubt; bleibt es so, senken "
    "Sie spec.refresh.requestsPerSecond.",
    "ProviderUnavailable": "Der Anbieter hat selbst einen Fehler. Es wird wieder versucht.",
    "RefusedWithoutReason": "Der Anbieter hat abgelehnt und nicht so, wie OAuth es vorsieht, gesagt, warum. Es wird wieder "
    "versucht; bleibt es so, sehen Sie nach, ob eine Firewall oder Network-Policy vor dem Anbieter steht.",
    "UnreadableAnswer": "Die Antwort des Anbieters enthält weder ein Token noch einen OAuth-Fehler. Es wird wieder versucht; "
    "bleibt es so, prüfen Sie spec.tokenURL.",
    "AnswerTooLarge": "Die Antwort des Anbieters ist größer als 1 MiB und wurde nicht gelesen. Es wird wieder versucht; bleibt es "
    "so, prüfen Sie spec.tokenURL.",
}

_APP = {
    "AppNotFound": "In diesem Namespace gibt es keine OAuthApp dieses Namens.",
    "ClientSecretForbidden": "Der Operator darf das Secret aus spec.clientSecretRef nicht lesen: Nehmen Sie diesen Namespace in "
    "namespaces des Charts auf, und den Namen des Secrets in clientSecretNames, falls das gesetzt ist.",
    "ClientSecretNotFound": "In diesem Namespace gibt es kein Secret {secret}: Legen Sie es an, mit dem Schlüssel {key} und dem "
    "Label {label}.",
    "ClientSecretNotConsented": "Das Secret {secret} stimmt nicht zu, hier benutzt zu werden: Wem es gehört, setzt das Label "
    "{label}.",
    "ClientSecretKeyMissing": "Das Secret {secret} hat unter dem Schlüssel {key} keinen Text: Ergänzen Sie ihn, oder verbessern "
    "Sie spec.clientSecretRef.key.",
    "ClientSecretKeptElsewhere": "Das im Portal eingegebene Client-Secret wurde nicht übernommen: Es gibt schon ein Secret "
    "{secret}, das nicht dort entstanden ist. Ändern Sie seinen Wert, woher es kommt, oder entfernen Sie es und geben das Secret "
    "noch einmal ein.",
    "AuthorizationRefused": "Der Autorisierungs-Endpunkt des Anbieters lehnt die Anfrage ab, bevor sich jemand anmeldet. Tragen "
    "Sie status.redirectURI der OAuthApp beim Anbieter ein, genau so, und vergleichen Sie spec.clientID und spec.scopes mit der "
    "Registrierung dort.",
    "Tried": "Der Anbieter hat geantwortet und weder die Zugangsdaten des Clients noch die Redirect-URI abgelehnt.",
}

_GRANT = {
    "GrantTooLate": f"Die Zustimmung wurde nicht innerhalb von zehn Minuten fertig. {_AGAIN}",
    "AppNotFound": f"Die OAuthApp ist weg oder wurde inzwischen neu angelegt. {_AGAIN}",
    "AnotherPerson": f"Die Zustimmung galt einer anderen Person oder OAuthApp, als diese UserCredential nennt. {_AGAIN}",
    "Duplicate": "Eine andere, ältere UserCredential nennt dieselbe Person und OAuthApp. Löschen Sie diese.",
    "AccessNotPermitted": "spec.access der OAuthApp erlaubt es dieser Person nicht. Fragen Sie die Administration der App.",
    "AppChanged": f"Client-ID oder Token-Endpunkt der OAuthApp wurden während der Zustimmung geändert. {_AGAIN}",
    "SubjectMissing": "Der Anbieter hat nicht dort, wo spec.subject der OAuthApp es erwartet, gesagt, wer zugestimmt hat; das "
    "Token wurde widerrufen. Die Administration der OAuthApp verbessert spec.subject.source oder spec.subject.claim, oder verlangt "
    "den Scope openid.",
    "SubjectDiffers": "Beim Anbieter ist jemand anders angemeldet als im Portal; das Token wurde widerrufen. Melden Sie sich beim "
    "Anbieter ab, und verbinden Sie mit Ihrem eigenen Konto neu. War es Ihr eigenes, legt die Administration der OAuthApp in "
    "spec.subject fest, welcher Claim der Benutzername ist (claim) und wie er verglichen wird (match).",
    "InvalidGrant": f"Der Anbieter hat den Authorization Code nicht angenommen. {_AGAIN}",
    "IdentityRefused": "Das ID-Token des Anbieters, oder was er auf die Frage nach dem Token sagt, gehört nicht zu dieser "
    f"Zustimmung; das Token wurde widerrufen. {_AGAIN}",
    "AuthorizationIncomplete": "Der Anbieter hat ein Token gegeben, aber was danach zu fragen war (wer zugestimmt hat, oder das "
    f"eigene Token des Warehouse), wurde nicht innerhalb von zehn Minuten beantwortet; das Token wurde widerrufen. {_AGAIN}",
}

_USERNAME = {
    "length": "ein Benutzername muss 1 bis 253 Zeichen haben",
    "characters": "ein Benutzername darf keine Leer-, Steuer- oder Formatzeichen enthalten",
    "form": "ein Benutzername muss in Unicodes zusammengesetzter Form stehen (NFC)",
}

_PRESETS = {
    "preset.generic": "Irgendein OAuth-2.0- oder OpenID-Anbieter",
    "preset.oidc": "Ein OpenID-Anbieter, nach seinem Issuer",
    "preset.oauth2": "Ein OAuth-2.0-Anbieter, nach seinen Endpunkten",
    "preset.trino": "Der OpenID-Anbieter vor Trino",
    "preset.dremio": "Dremio, über den OpenID-Anbieter, dem es traut",
    "preset.databricks": "Databricks",
    "preset.snowflake": "Snowflake",
    "preset.google": "Google (BigQuery)",
    "preset.entra": "Microsoft Entra ID",
    "preset.okta": "Okta",
    "advice.dremio.host": "nur der Host von Dremio, etwa dremio.example.com oder login.dremio.cloud",
    "advice.databricks.host": "nur der Host des Workspace, etwa adb-123.4.azuredatabricks.net",
    "advice.snowflake.account": "nur die Kennung des Accounts, etwa myorg-myaccount",
    "advice.entra.tenant": "die Verzeichnis-ID (Mandanten-ID), eine GUID von der Übersichtsseite von Entra; ein Domainname passt "
    "nicht zum Issuer in den Token",
    "advice.okta.host": "nur der Host der Organisation, etwa example.okta.com",
    "advice.okta.authorizationServer": "die ID des Authorization-Servers, etwa default",
}

GERMAN_REASONS: Mapping[str, str] = {
    **{f"reason.provider.{word}": text for word, text in _PROVIDER.items()},
    **{f"reason.app.{word}": text for word, text in _APP.items()},
    **{f"reason.grant.{word}": text for word, text in _GRANT.items()},
    **{f"username.{word}": text for word, text in _USERNAME.items()},
    **_PRESETS,
}

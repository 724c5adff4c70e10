"""A log-in for each person on Cube's SQL API, so that a BI tool's queries run as whoever uses it.

The file that CUBE_SQL_PASSWORDS names, say a mounted Secret, has a line `username:sha256 of the password` for each person.
TLS in front of the SQL API is up to you: Cube asks for passwords in clear text.
"""

import hashlib
import hmac
import os

from cube import config


@config("check_sql_auth")
def check_sql_auth(request: dict, username: str, password: str | None) -> dict:
    # Called for each connection; and every five minutes for those that are open, without the password
    with open(os.environ["CUBE_SQL_PASSWORDS"], encoding="utf-8") as passwords:
        expected = dict(line.strip().rsplit(":", 1) for line in passwords if ":" in line).get(username)
    goes_on = password is None  # an empty one is a password
    if not expected or not (goes_on or hmac.compare_digest(hashlib.sha256(password.encode()).hexdigest(), expected)):
        raise ValueError(f'Nobody logs in as "{username}" with this password')
    context = {os.environ.get("CUBE_OAUTH_USERNAME_CLAIM", "sub"): username}
    issuer = os.environ.get("CUBE_OAUTH_ISSUER")  # these two are there wherever the operator's hook is
    return {"securityContext": context | ({"iss": issuer} if issuer else {}), "skipPasswordCheck": True}

"""The documented configuration for per-user OAuth in Python, with its data source swapped for Trino."""

import os

from cube import config


@config("driver_factory")
def driver_factory(ctx: dict) -> dict:
    # Extract the Cube Cloud security context, which contains
    # per-user OAuth credentials when available.
    trino_creds = ctx.get("securityContext", {}).get("cubeCloud", {}).get("userCredentials", {}).get("trino", {})

    # Only use the OAuth token when the credential status is "active".
    # An expired or revoked token falls back to the service account.
    oauth_token = trino_creds.get("accessToken") if trino_creds.get("status") == "active" else None

    return {
        "type": "trino",
        "host": os.environ["CUBEJS_DB_HOST"],
        "port": os.environ["CUBEJS_DB_PORT"],
        "catalog": os.environ["CUBEJS_DB_PRESTO_CATALOG"],
        "schema": os.environ["CUBEJS_DB_NAME"],
        # Trino wants a name beside the token: the one it knows the user by
        "user": trino_creds["subject"] if oauth_token else os.environ["CUBEJS_DB_USER"],
        # Prefer the user's OAuth token; fall back to the service account token
        "custom_auth": f"Bearer {oauth_token or os.environ['CUBEJS_DB_TRINO_TOKEN']}",
        # Milliseconds between the client's questions for more rows
        "checkInterval": 50,
    }


@config("context_to_orchestrator_id")
def context_to_orchestrator_id(ctx: dict) -> str:
    # Give each user a separate orchestrator instance (DB connections,
    # execution queues, pre-aggregation caches)
    username = ctx.get("securityContext", {}).get("cubeCloud", {}).get("username", "default")
    return f"CUBE_APP_{username}"

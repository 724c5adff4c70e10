from cube import config
import os


@config("driver_factory")
def driver_factory(ctx: dict) -> dict:
    # Extract the Cube Cloud security context, which contains
    # per-user OAuth credentials when available.
    snowflake_creds = (
        ctx
        .get("securityContext", {})
        .get("cubeCloud", {})
        .get("userCredentials", {})
        .get("snowflake", {})
    )

    # Only use the OAuth token when the credential status is "active".
    # An expired or revoked token falls back to the service account.
    oauth_token = (
        snowflake_creds.get("accessToken")
        if snowflake_creds.get("status") == "active"
        else None
    )

    options = {
        "type": "snowflake",
        "account": os.environ["CUBEJS_DB_SNOWFLAKE_ACCOUNT"],
        "warehouse": os.environ["CUBEJS_DB_SNOWFLAKE_WAREHOUSE"],
        "database": os.environ["CUBEJS_DB_NAME"],
    }

    # Prefer the user's OAuth token; fall back to the service account
    if oauth_token:
        return options | {"authenticator": "OAUTH", "oauthToken": oauth_token}
    return options | {
        "username": os.environ["CUBEJS_DB_USER"],
        "password": os.environ["CUBEJS_DB_PASS"],
    }


@config("context_to_orchestrator_id")
def context_to_orchestrator_id(ctx: dict) -> str:
    # Give each user a separate orchestrator instance (DB connections,
    # execution queues, pre-aggregation caches)
    username = (
        ctx
        .get("securityContext", {})
        .get("cubeCloud", {})
        .get("username", "default")
    )
    return f"CUBE_APP_{username}"

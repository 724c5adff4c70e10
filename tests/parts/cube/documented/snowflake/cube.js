module.exports = {
  driverFactory: ({ securityContext }) => {
    // Extract the Cube Cloud security context, which contains
    // per-user OAuth credentials when available.
    const snowflakeCreds =
      securityContext?.cubeCloud?.userCredentials?.snowflake ?? {};

    // Only use the OAuth token when the credential status is "active".
    // An expired or revoked token falls back to the service account.
    const oauthToken =
      snowflakeCreds.status === "active"
        ? snowflakeCreds.accessToken
        : null;

    return {
      type: "snowflake",
      account: process.env.CUBEJS_DB_SNOWFLAKE_ACCOUNT,
      warehouse: process.env.CUBEJS_DB_SNOWFLAKE_WAREHOUSE,
      database: process.env.CUBEJS_DB_NAME,
      // Prefer the user's OAuth token; fall back to the service account
      ...(oauthToken
        ? { authenticator: "OAUTH", oauthToken }
        : {
            username: process.env.CUBEJS_DB_USER,
            password: process.env.CUBEJS_DB_PASS,
          }),
    };
  },

  // Give each user a separate orchestrator instance (DB connections,
  // execution queues, pre-aggregation caches)
  contextToOrchestratorId: ({ securityContext }) => {
    const username = securityContext?.cubeCloud?.username ?? "default";
    return `CUBE_APP_${username}`;
  },
};

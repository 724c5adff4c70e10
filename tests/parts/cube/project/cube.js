// The documented configuration for per-user OAuth, with its data source swapped for Trino.
module.exports = {
  driverFactory: ({ securityContext }) => {
    // Extract the Cube Cloud security context, which contains
    // per-user OAuth credentials when available.
    const trinoCreds =
      securityContext?.cubeCloud?.userCredentials?.trino ?? {};

    // Only use the OAuth token when the credential status is "active".
    // An expired or revoked token falls back to the service account.
    const oauthToken =
      trinoCreds.status === "active"
        ? trinoCreds.accessToken
        : null;

    return {
      type: "trino",
      host: process.env.CUBEJS_DB_HOST,
      port: process.env.CUBEJS_DB_PORT,
      catalog: process.env.CUBEJS_DB_PRESTO_CATALOG,
      schema: process.env.CUBEJS_DB_NAME,
      // Trino wants a name beside the token: the one it knows the user by
      user: oauthToken
        ? trinoCreds.subject ?? securityContext.cubeCloud.username
        : process.env.CUBEJS_DB_USER,
      // Prefer the user's OAuth token; fall back to the service account token
      custom_auth: `Bearer ${oauthToken || process.env.CUBEJS_DB_TRINO_TOKEN}`,
      // Milliseconds between the client's questions for more rows; its own 800
      // make a query of nothing last for seconds
      checkInterval: 50,
    };
  },

  // Give each user a separate orchestrator instance (DB connections,
  // execution queues, pre-aggregation caches)
  contextToOrchestratorId: ({ securityContext }) => {
    const username = securityContext?.cubeCloud?.username ?? "default";
    return `CUBE_APP_${username}`;
  },
};

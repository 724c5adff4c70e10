// Two data sources of different types: `default` is PostgreSQL, `lake` is Trino. In each, whoever is connected has a
// credential of their own, as documented; everybody else is the service account.
const own = (securityContext, name) => {
  const credential = securityContext?.cubeCloud?.userCredentials?.[name];
  return credential?.status === 'active' ? credential : null;
};

const postgres = ({ securityContext }) => {
  const credential = own(securityContext, process.env.POSTGRES_CREDENTIAL ?? 'postgres');
  return {
    type: 'postgres',
    user: credential?.subject ?? (credential ? securityContext.cubeCloud.username : process.env.CUBEJS_DB_USER),
    password: credential?.accessToken ?? process.env.CUBEJS_DB_PASS,
    // its pool closes nothing by itself: what is closed, the hook has closed
    idleTimeoutMillis: 3_600_000,
    softIdleTimeoutMillis: 3_600_000,
  };
};

const trino = ({ securityContext }) => {
  const credential = own(securityContext, 'trino');
  return {
    type: 'trino',
    host: process.env.LAKE_HOST,
    port: process.env.LAKE_PORT,
    ssl: { ca: process.env.LAKE_CA },
    catalog: 'system',
    schema: 'runtime',
    user: credential?.subject ?? (credential ? securityContext.cubeCloud.username : process.env.LAKE_USER),
    custom_auth: `Bearer ${credential?.accessToken ?? process.env.LAKE_TOKEN}`,
    basic_auth: undefined,
    checkInterval: 50,
  };
};

module.exports = {
  driverFactory: (context) => (context.dataSource === 'lake' ? trino(context) : postgres(context)),
  contextToOrchestratorId: ({ securityContext }) => `CUBE_APP_${securityContext?.cubeCloud?.username ?? 'default'}`,
  orchestratorOptions: { continueWaitTimeout: 60 },
};

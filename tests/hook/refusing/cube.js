// Four data sources whose drivers take a person's access token in four ways; everybody else is the service account.
// of the version that the driver itself uses: others give it no header that it knows
const { OAuth2Client } = require(require.resolve('google-auth-library', { paths: [require.resolve('@cubejs-backend/bigquery-driver')] }));

const port = (name) => Number(process.env[`PORT_OF_${name.toUpperCase()}`]);

const DRIVERS = {
  bigquery: (token) => {
    const authClient = new OAuth2Client();
    authClient.setCredentials({ access_token: token });
    return { type: 'bigquery', projectId: 'a-project', apiEndpoint: `https://127.0.0.1:${port('bigquery')}`, authClient };
  },
  clickhouse: (token, user) => ({ type: 'clickhouse', protocol: 'https:', host: '127.0.0.1', port: port('clickhouse'), username: user, password: token }),
  dremio: (token) => ({ type: 'dremio', ssl: true, host: '127.0.0.1', port: port('dremio'), dremioAuthToken: token }),
  redshift: (token, user) => ({ type: 'redshift', host: '127.0.0.1', port: port('redshift'), database: 'warehouse', user, password: token }),
};

module.exports = {
  driverFactory: ({ securityContext, dataSource }) => {
    const name = dataSource === 'default' ? 'bigquery' : dataSource;
    const cloud = securityContext?.cubeCloud;
    const credential = cloud?.userCredentials?.[name];
    return credential?.status === 'active'
      ? DRIVERS[name](credential.accessToken, cloud.username)
      : DRIVERS[name](process.env[`TOKEN_FOR_${name.toUpperCase()}`], 'cube_service_account');
  },
  contextToOrchestratorId: ({ securityContext }) => `CUBE_APP_${securityContext?.cubeCloud?.username ?? 'default'}`,
};

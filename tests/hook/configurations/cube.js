// A configuration with everything of its own. It writes down what it was given, tokens as "a token".
const redacted = (key, value) => (key === 'accessToken' ? 'a token' : value === undefined ? 'a key without a value' : value);
const note = (what, given) => console.log(`noted ${JSON.stringify({ what, given }, redacted)}`);

module.exports = {
  checkAuth: (req, authorization) => {
    req.securityContext = { username: authorization, cubeCloud: { username: 'mallory', userCredentials: { postgres: { status: 'active' } }, groups: ['g'] } };
  },
  extendContext: (req) => {
    note('extendContext', req.securityContext);
    return { securityContext: { ...req.securityContext, tenant: 'acme' } };
  },
  contextToAppId: ({ securityContext }) => {
    note('contextToAppId', securityContext);
    return `APP_${securityContext?.tenant}`;
  },
  contextToOrchestratorId: ({ securityContext }) => {
    note('contextToOrchestratorId', securityContext);
    return `OWN_${securityContext?.tenant}_${securityContext?.cubeCloud?.username}`;
  },
  driverFactory: ({ securityContext }) => {
    note('driverFactory', securityContext);
    const own = securityContext?.cubeCloud?.userCredentials?.postgres;
    return own?.status === 'active'
      ? { type: 'postgres', user: securityContext.cubeCloud.username, password: own.accessToken }
      : { type: 'postgres' };
  },
};

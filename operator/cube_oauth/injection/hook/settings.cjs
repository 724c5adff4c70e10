'use strict';

/** @typedef {{socket: string, usernameClaim: string, issuer: string, unauthenticated: boolean, account?: string[]}} Settings */

/** Read before Cube reads the project's .env file: a project does not choose whom the operator trusts. @type {Settings} */
const SETTINGS = Object.freeze({
  socket: process.env.CUBE_OAUTH_SOCKET || '',
  usernameClaim: process.env.CUBE_OAUTH_USERNAME_CLAIM || 'sub',
  issuer: process.env.CUBE_OAUTH_ISSUER || '',
  unauthenticated: process.env.CUBE_OAUTH_UNAUTHENTICATED === 'allow',
  account: (process.env.CUBE_OAUTH_SERVICE_ACCOUNT || '').split(',').filter(Boolean),
});

/** Whether Cube lets everybody in without verifying who it is; as Cube itself decides it. @param {NodeJS.ProcessEnv} env */
function isDevelopment(env) {
  return env.NODE_ENV !== 'production' || !['', 'false', '0', 'no'].includes((env.CUBEJS_DEV_MODE ?? '').toLowerCase());
}

module.exports = { SETTINGS, isDevelopment };

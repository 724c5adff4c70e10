'use strict';

/** @import {Loose} from './basics.cjs' */
/** @import {Source} from './credentials.cjs' */
/** @import {Log} from './log.cjs' */

/**
 * What the documented driver_factory says for each type: which key of userCredentials it reads, and how the driver is given
 * a user's token. Everything else the driver reads from CUBEJS_DB_*, as it does without a configuration.
 * @type {Record<string, {key: string, options: (credential: Loose, username: string) => Loose}>}
 */
const GENERATED = {
  'databricks-jdbc': { key: 'databricks', options: ({ accessToken }) => ({ token: accessToken }) },
  snowflake: { key: 'snowflake', options: ({ accessToken }) => ({ authenticator: 'OAUTH', oauthToken: accessToken }) },
  trino: { key: 'trino', options: bearerOfPresto },
  prestodb: { key: 'presto', options: bearerOfPresto },
  postgres: { key: 'postgres', options: ({ accessToken, subject }, username) => ({ user: subject ?? username, password: accessToken }) },
  redshift: { key: 'redshift', options: ({ accessToken, subject }, username) => ({ user: subject ?? username, password: accessToken }) },
};

/** Presto wants the user's name beside the token, and refuses a password beside it. @param {Loose} credential @param {string} username */
function bearerOfPresto({ accessToken, subject }, username) {
  return { user: subject ?? username, custom_auth: `Bearer ${accessToken}`, basic_auth: undefined };
}

/**
 * For a configuration without driver_factory: the credential called like Cube's data source counts, else the one with the
 * documented name of its type. None where Cube itself would do something else than read CUBEJS_DB_*.
 * @param {Log} log @param {NodeJS.ProcessEnv} env @returns {((context: Loose) => Loose) | undefined}
 */
function generatedFactory(log, env) {
  const why = !env.CUBEJS_DB_TYPE ? 'CUBEJS_DB_TYPE is not set'
    : Object.keys(env).some((name) => /^CUBEJS_(DS_\w+_)?PRE_AGGREGATIONS_/.test(name)) ? 'there are CUBEJS_PRE_AGGREGATIONS_* variables'
      : Object.entries(env).filter(([name, type]) => /^CUBEJS_(DS_\w+_)?DB_TYPE$/.test(name) && !GENERATED[type ?? '']).map(([name, type]) => `${name} is ${type}`)[0];
  if (why) {
    log.say('warning', `the configuration has no driver_factory, and none can be generated: ${why}; every query runs as the service account`);
    return undefined;
  }
  return ({ securityContext, dataSource = 'default' }) => {
    const type = env[`CUBEJS_DS_${dataSource.toUpperCase()}_DB_TYPE`] ?? env.CUBEJS_DB_TYPE ?? '';
    const { userCredentials = {}, username } = securityContext?.cubeCloud ?? {};
    const { key, options } = GENERATED[type];
    const credential = userCredentials[dataSource] ?? userCredentials[key];
    if (!credential) lookAt(userCredentials); // it is not known which is meant: whoever is denied one of them is denied this
    return credential?.status === 'active' ? { type, ...options(credential, username) } : { type };
  };
}

const lookAt = (/** @type {Record<string, Source>} */ credentials) => Object.values(credentials).map(({ status }) => status);

module.exports = { generatedFactory };

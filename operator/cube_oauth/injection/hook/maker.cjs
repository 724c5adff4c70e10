'use strict';

/** @import {Account} from './account.cjs' */
/** @import {Credentials, Source} from './credentials.cjs' */
/** @import {Identity} from './identity.cjs' */
/** @import {Log} from './log.cjs' */
/** @import {Loose} from './basics.cjs' */
/** @import {Plan} from './opened.cjs' */
const { digest } = require('./basics.cjs');
const { denies, isActive, tokenOf } = require('./credentials.cjs');
const { CredentialError } = require('./errors.cjs');
const { CREDENTIALS, FACTORY_RESULT, LOOKED_AT, identityOf } = require('./identity.cjs');
const { Opened } = require('./opened.cjs');
const { redacted } = require('./redaction.cjs');

/**
 * Plans and opens the drivers of one person and one data source of Cube's.
 * @param {Loose} core @param {Function} resolveDriver Cube's own @param {Loose} context @param {any} options @param {Log} log
 */
function makerOf(core, resolveDriver, context, options, log) {
  const identity = /** @type {Identity} */ (identityOf(context));
  const open = openerOf(core, resolveDriver, context, options);
  return {
    /** @param {Credentials} credentials @returns {Promise<Plan>} */
    async plan(credentials) {
      const lookedAt = new Set(Object.keys(credentials.sources)); // as long as there is no driverFactory to say it
      const given = { ...context, [CREDENTIALS]: credentials, [LOOKED_AT]: lookedAt };
      const config = await core.options.driverFactory(given);
      const text = textOf(config);
      const active = [...lookedAt].filter((name) => isActive(credentials.sources[name]));
      const written = active.find((name) => text?.includes(/** @type {string} */ (tokenOf(credentials, name))));
      const denying = written ? undefined : denyingSource(credentials, lookedAt, context.dataSource);
      if (denying) throw new CredentialError('Denied', deniedSentence(identity, denying, credentials.sources[denying]));
      return { config: written ? withoutRole(config) : config, print: text && digest(text), credentials, lookedAt, presents: written ?? active[0], written };
    },
    /** @param {Plan} plan */
    async open(plan) {
      const opened = await open(plan);
      if (plan.written && ignoresToken(opened.driver)) {
        log.decided('TokenIgnored', { username: identity.caller.username, dataSource: plan.written });
        throw new CredentialError('TokenIgnored', `Databricks' driver ignores the token of ${identity.caller.username} (TokenIgnored): it has an OAuth client of its own. Remove oauthClientId and oauthClientSecret from driver_factory, and CUBEJS_DB_DATABRICKS_OAUTH_CLIENT_ID and _SECRET from the environment; the service account then needs CUBEJS_DB_DATABRICKS_TOKEN.`);
      }
      return opened;
    },
  };
}

/** Databricks' driver prefers a client ID and secret, of the configuration or the environment, to any token. */
const ignoresToken = (/** @type {Loose} */ driver) => Boolean(driver.config?.properties?.OAuth2ClientID);

/**
 * The same for the service account. What a driver reads from the environment itself is not in its configuration, so that its
 * print has the values as well, but for those that are another data source's by their name.
 * @param {Loose} core @param {Function} resolveDriver Cube's own @param {Loose} context @param {any} options @param {Account} account
 */
function makerOfAccount(core, resolveDriver, context, options, account) {
  const names = account.names.filter((name) => !isOfAnother(name, context.dataSource));
  return {
    /** @param {Credentials} credentials @returns {Promise<Plan>} */
    async plan(credentials) {
      const config = account.renewed(await core.options.driverFactory(context));
      const text = textOf(config);
      const values = names.map((name) => tokenOf(credentials, name) ?? null);
      const replaceable = names.filter((name) => credentials.sources[name]?.revision !== undefined);
      const written = replaceable.find((name) => text?.includes(/** @type {string} */ (tokenOf(credentials, name))));
      return { config, print: text && digest(JSON.stringify([text, values])), credentials, lookedAt: new Set(account.names), presents: written ?? replaceable[0] };
    },
    open: openerOf(core, resolveDriver, context, options),
  };
}

/** Whether Cube reads this variable for other data sources only (keyByDataSource of @cubejs-backend/shared). @param {string} name @param {string} [dataSource] */
const isOfAnother = (name, dataSource = 'default') => name.startsWith('CUBEJS_DS_') && !name.startsWith(`CUBEJS_DS_${dataSource.toUpperCase()}_`);

/** What was planned becomes a driver as Cube makes one. @param {Loose} core @param {Function} resolveDriver @param {Loose} context @param {any} options */
const openerOf = (core, resolveDriver, context, options) => async (/** @type {Plan} */ plan) => {
  const driver = await resolveDriver.call(core, { ...context, [FACTORY_RESULT]: plan.config }, options)
    .catch((/** @type {any} */ error) => { throw redacted(error, plan.credentials); });
  driver.setLogger?.(core.logger);
  return new Opened(driver, plan);
};

/** Snowflake's driver takes the service account's role (CUBEJS_DB_SNOWFLAKE_ROLE) for whoever names none; a user's token says which. */
const withoutRole = (/** @type {any} */ config) => (config?.type === 'snowflake' && !('role' in config) ? { ...config, role: undefined } : config);

/** A driver's configuration as text, to compare; null for a ready-made driver, or what has no text. @param {any} config */
function textOf(config) {
  if (typeof config?.type !== 'string' || Object.getPrototypeOf(config) !== Object.prototype) return null;
  try { return JSON.stringify(config); } catch { return null; }
}

/**
 * The source that forbids the service account to this person, among those the configuration looked at for this driver.
 * Python's ctx is copied as a whole, so that every source seems looked at: one named like Cube's data source decides then.
 * @param {Credentials} credentials @param {Set<string>} lookedAt @param {string} dataSource
 */
function denyingSource({ sources }, lookedAt, dataSource) {
  const names = [...lookedAt];
  const candidates = names.length > 1 && names.includes(dataSource) ? [dataSource] : names;
  return candidates.find((name) => denies(sources[name]));
}

/** @param {Identity} identity @param {string} dataSource @param {Source} source */
function deniedSentence({ caller, nameless }, dataSource, { reason, status, authorizeURL }) {
  const connect = authorizeURL ? `open ${authorizeURL} to connect it` : 'connect it on the page "Connected apps"';
  const rule = 'it answers only with a connection of one\'s own';
  if (nameless) return `This request names no user whom ${dataSource} knows (${nameless}: ${NAMELESS[nameless]}), and ${rule}. Log in to Cube by name, ${connect}, then run the query again.`;
  return `${caller.username} is not connected to ${dataSource} (${reason ?? status}), and ${rule}. ${connect[0].toUpperCase()}${connect.slice(1)}, then run the query again.`;
}
/** @type {Record<string, string>} */
const NAMELESS = {
  NoCallerIdentity: 'its login has no username in the claim that the operator was told to read',
  ForeignIssuer: 'its login comes from another issuer than the operator was told to accept',
  DevelopmentMode: 'Cube runs in development mode, where it verifies nobody',
};

module.exports = { makerOf, makerOfAccount };

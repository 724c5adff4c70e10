'use strict';

/** @import {Credentials} from './credentials.cjs' */
/** @import {Log} from './log.cjs' */
/** @import {Loose} from './basics.cjs' */
/** @import {People} from './people.cjs' */
/** @import {Settings} from './settings.cjs' */
const { isObject } = require('./basics.cjs');
const { withoutCredentials } = require('./caller.cjs');
const { extendContextOf } = require('./contexts.cjs');
const { generatedFactory } = require('./generated.cjs');
const { CREDENTIALS, FACTORY_RESULT, LOOKED_AT, identityOf } = require('./identity.cjs');

/** Configurations that went through `wrapConfiguration`, by their extendContext. @type {WeakSet<object>} */
const wrapped = new WeakSet();

/**
 * Cube's configuration, whatever language it came from, with the credentials of each caller.
 * @param {Loose} own the configuration that Cube loaded
 * @param {{people: People, settings: Settings, log: Log, development: boolean}} given
 */
function wrapConfiguration(own, { people, settings, log, development }) {
  const blind = development && !settings.unauthenticated;
  if (blind) {
    log.say('warning', 'Cube runs in development mode and verifies nobody: no user credential is resolved', { reason: 'DevelopmentMode' });
    if (Object.keys(own).length === 0) return own; // Cube's own set-up wizard wants to see that there is none
  }
  /** @type {Loose} */
  const config = { ...own, extendContext: extendContextOf(own, { people, settings, log, blind }) };
  const driverFactory = own.driverFactory ?? generatedFactory(log, process.env);

  config.contextToOrchestratorId = async (/** @type {any} */ context) => {
    const id = own.contextToOrchestratorId ? await own.contextToOrchestratorId(context) : 'STANDALONE'; // Cube's default
    return orchestratorID(id, identityOf(context)?.credentials.eyes);
  };

  config.orchestratorOptions = async (/** @type {any} */ context) => {
    const options = typeof own.orchestratorOptions === 'function' ? await own.orchestratorOptions(context) : own.orchestratorOptions;
    return identityOf(context)?.credentials.eyes ? readingPreAggregations(options) : options;
  };

  if (driverFactory) {
    config.driverFactory = (/** @type {any} */ context) => {
      if (isObject(context) && FACTORY_RESULT in context) return context[FACTORY_RESULT];
      const identity = identityOf(context);
      if (!identity) return driverFactory(replaced(context, withoutCredentials(context?.securityContext)));
      context[LOOKED_AT]?.clear();
      return driverFactory(withTokens(context, context[CREDENTIALS] ?? identity.credentials, context[LOOKED_AT]));
    };
  }
  wrapped.add(config.extendContext);
  return config;
}

/** @param {any} context @param {any} securityContext @returns {any} */
function replaced(context, securityContext) {
  if (!isObject(context) || context.securityContext === securityContext) return context;
  return { ...context, securityContext, authInfo: securityContext };
}

/**
 * Nobody else's orchestrator is called like this one, whatever a configuration makes out of a user's name: an id that
 * reads as the service account and looks as if it had our suffix gets one of its own.
 * @param {any} id @param {string} [eyes]
 */
function orchestratorID(id, eyes) {
  if (eyes) return `${id}@${eyes}`;
  return /@(service|[\w-]{22})$/.test(String(id)) ? `${id}@service` : id;
}

/**
 * A pre-aggregation's table is everybody's: it is built by the service account, and never from what one person may see.
 * @param {any} options orchestratorOptions
 */
const readingPreAggregations = (options) => ({ ...options, preAggregationsOptions: { ...options?.preAggregationsOptions, externalRefresh: true } });

/** What only driverFactory gets: a copy in which tokens are ordinary properties. */
function withTokens(/** @type {Loose} */ context, /** @type {Credentials} */ credentials, /** @type {Set<string> | undefined} */ lookedAt) {
  const userCredentials = Object.fromEntries(Object.entries(credentials.userCredentials).map(([name, veiledSource]) => {
    const copy = { ...veiledSource, ...(veiledSource.accessToken ? { accessToken: veiledSource.accessToken } : {}) };
    return [name, lookedAt ? watched(copy, () => lookedAt.add(name)) : copy];
  }));
  const { securityContext } = context;
  return replaced(context, { ...securityContext, cubeCloud: { ...securityContext.cubeCloud, userCredentials } });
}

/** The same object, which tells when its status or token is read. */
function watched(/** @type {Loose} */ source, /** @type {() => void} */ tell) {
  for (const key of ['status', 'accessToken'].filter((each) => each in source)) {
    const value = source[key];
    Object.defineProperty(source, key, { enumerable: true, get: () => { tell(); return value; } });
  }
  return source;
}

module.exports = { wrapConfiguration, wrapped };

/**
 * What the hook touches inside Cube. A missing one stops Cube at start; nothing else of Cube is replaced. At start the log
 * says which version it met, and whether our tests ran with it (TESTED below).
 *
 * | internal                                        | why                                     | seen in                         |
 * | ----------------------------------------------- | --------------------------------------- | ------------------------------- |
 * | server: ServerContainer#lookupConfiguration     | the configuration of cube.js, cube.py   | 1.7.43, 1.6.57, 0.35.81         |
 * |                                                 | or none, in its final form              |                                 |
 * | server-core: CubejsServerCore#initApp           | refuse to serve what was not wrapped    | 1.7.43, 1.6.62, 1.5.10, 1.3.40, |
 * |                                                 |                                         | 0.35.81                         |
 * | server-core: CubejsServerCore#resolveDriver     | the one place where drivers are made    | 1.7.43, 1.6.62, 1.5.10, 1.3.40, |
 * |   (it calls this.options.driverFactory)         |                                         | 0.35.81                         |
 * | api-gateway: ApiGateway#contextByReq            | the verified claims, before a client's  | 1.7.43, 1.6.62, 1.5.10, 1.3.40, |
 * |                                                 | own words in a WebSocket message        | 0.35.81                         |
 * | a driver: databasePoolError,                    | optional: stop a pool from logging in   | postgres-driver 1.7.43, 1.6.62  |
 * |   pool._factory.create (generic-pool)           | for ever with a refused token           |                                 |
 * | Snowflake's driver: connection                  | optional: a session that could not be   | snowflake-driver 1.7.43         |
 * |                                                 | closed does not end the process         |                                 |
 * | Databricks' driver: config.properties           | optional: whether it presents the token | databricks-jdbc-driver 1.7.43   |
 */
'use strict';

/** @import {Account} from './account.cjs' */
/** @import {Log} from './log.cjs' */
/** @import {Loose} from './basics.cjs' */
/** @import {People} from './people.cjs' */
/** @import {Settings} from './settings.cjs' */
const { readFileSync } = require('node:fs');
const { isObject } = require('./basics.cjs');
const { NOBODY } = require('./caller.cjs');
const { wrapConfiguration, wrapped } = require('./configuration.cjs');
const { FACTORY_RESULT, identityOf } = require('./identity.cjs');
const { LiveDriver } = require('./live.cjs');
const { makerOf, makerOfAccount } = require('./maker.cjs');
const { isDevelopment } = require('./settings.cjs');

/** @typedef {{people: People, settings: Settings, log: Log, account?: Account}} Given */

/** What is changed in which of Cube's files, as it is loaded. `wrap` gets the original method. */
const PATCHES = [
  {
    file: '@cubejs-backend/server/dist/src/server/container.js', type: 'ServerContainer', method: 'lookupConfiguration',
    wrap: (/** @type {Function} */ lookup, /** @type {Given} */ given) => /** @this {Loose} */ async function lookupConfiguration(/** @type {any[]} */ ...args) {
      const own = await lookup.apply(this, args);
      given.account?.follow();
      return wrapConfiguration(own, { ...given, development: isDevelopment(process.env) });
    },
  },
  {
    // Newer versions do the same. In 1.3 a WebSocket message has no other security context than what its sender wrote into it.
    file: '@cubejs-backend/api-gateway/dist/src/gateway.js', type: 'ApiGateway', method: 'contextByReq',
    wrap: (/** @type {Function} */ contextByReq) => /** @this {Loose} */ async function contextOfVerifiedCaller(/** @type {Loose} */ request, /** @type {any} */ securityContext, /** @type {any[]} */ ...rest) {
      request.securityContext = securityContext;
      return contextByReq.call(this, request, securityContext, ...rest);
    },
  },
  {
    file: '@cubejs-backend/server-core/dist/src/core/server.js', type: 'CubejsServerCore', method: 'initApp',
    wrap: (/** @type {Function} */ initApp, /** @type {Given} */ { log }, /** @type {string} */ filename) => /** @this {Loose} */ async function initAppWithCredentials(/** @type {any[]} */ ...args) {
      tellVersion(log, versionOf(filename));
      if (!wrapped.has(this.options.extendContext) && !isDevelopment(process.env)) {
        throw new Error('cube-oauth: this Cube was not started by the command "cubejs server", so that its configuration has no user credentials');
      }
      return initApp.apply(this, args);
    },
  },
  {
    file: '@cubejs-backend/server-core/dist/src/core/server.js', type: 'CubejsServerCore', method: 'resolveDriver',
    wrap: (/** @type {Function} */ resolveDriver, /** @type {Given} */ { log, people, account }) => /** @this {Loose} */ async function resolveDriverOfIdentity(/** @type {any} */ context, /** @type {any} */ options) {
      const identity = identityOf(context);
      if (!identity) log.decided('BackgroundWork', { dataSource: context?.dataSource });
      if (isObject(context) && FACTORY_RESULT in context) return resolveDriver.call(this, context, options);
      if (!identity?.credentials.eyes) {
        if (!account?.rotates) return resolveDriver.call(this, context, options);
        return new LiveDriver(makerOfAccount(this, resolveDriver, context ?? {}, options, account), { caller: NOBODY, credentials: account.known() }, account).start();
      }
      return new LiveDriver(makerOf(this, resolveDriver, context, options, log), identity, people).start();
    },
  },
];

/** The minor versions of Cube that our tests ran with (make test-cube). */
const TESTED = ['1.3', '1.5', '1.6', '1.7'];

/** @param {string} filename of a file in a package's dist @returns {string} */
function versionOf(filename) {
  try { return JSON.parse(readFileSync(filename.replace(/dist[\\/]src[\\/].*$/, 'package.json'), 'utf8')).version; } catch { return 'unknown'; }
}

/** @param {Log} log @param {string} version of Cube */
function tellVersion(log, version) {
  if (TESTED.includes(version.split('.', 2).join('.'))) return log.say('info', 'the hook is in Cube', { cube: version });
  log.count('UntestedVersion');
  return log.say('warning', 'the hook is in a version of Cube that it was not tested with; the internals it needs are there', { cube: version, reason: 'UntestedVersion', tested: TESTED });
}

/** Applies the patches for a file that was just loaded. @param {string} filename @param {any} exported @param {Given} given */
function patch(filename, exported, given) {
  for (const { type, method, wrap } of PATCHES.filter((each) => filename.replaceAll('\\', '/').endsWith(`/${each.file}`))) {
    const prototype = exported?.[type]?.prototype;
    const original = prototype?.[method];
    if (typeof original !== 'function') throw new Error(`cube-oauth: this version of Cube has no ${type}#${method}, which the hook needs (${filename})`);
    if (HOOKED in original) throw new Error('cube-oauth: two hooks in one Cube; remove one of them from NODE_OPTIONS');
    if (!given.settings.socket) throw new Error('cube-oauth: CUBE_OAUTH_SOCKET is not set');
    prototype[method] = Object.assign(wrap(original, given, filename), { [HOOKED]: true });
  }
}
const HOOKED = Symbol.for('cube-oauth.hooked');

module.exports = { PATCHES, patch, tellVersion };

'use strict';

const { realpathSync } = require('node:fs');
const Module = require('node:module');
const { Account } = require('./account.cjs');
const { PATCHES, patch } = require('./internals.cjs');
const { Log } = require('./log.cjs');
const { People } = require('./people.cjs');
const { SETTINGS } = require('./settings.cjs');

/** What every patch is given. */
function together() {
  const people = new People(SETTINGS.socket);
  const log = new Log(undefined, (reason) => people.socket.count('decisions', reason));
  return { people, settings: SETTINGS, log, account: new Account(SETTINGS.account ?? [], people.socket, log) };
}

/**
 * NODE_OPTIONS reaches every Node.js process of the container (npm, health scripts, Cube's own worker threads): in those
 * nothing happens but that this function replaces a loader by one that does the same.
 */
function install() {
  const given = together();
  const extensions = /** @type {any} */ (Module)._extensions;
  const load = extensions['.js'];
  const missing = new Set(PATCHES.map(({ file }) => file));
  extensions['.js'] = (/** @type {any} */ module, /** @type {string} */ filename) => {
    load(module, filename);
    if (!filename.includes('cubejs-backend')) return;
    patch(filename, module.exports, given);
    for (const file of missing) if (filename.replaceAll('\\', '/').endsWith(`/${file}`)) missing.delete(file);
  };
  if (!looksLikeCube(process.argv)) return;
  setTimeout(() => {
    if (missing.size) throw new Error(`cube-oauth: Cube started without ${[...missing].join(', ')}: users would run as the service account`);
  }, STARTED_MS).unref();
}
const STARTED_MS = 30_000;

/** Whether this process is meant to become a Cube server. @param {string[]} argv */
function looksLikeCube([, script = '', command = '']) {
  let path = script;
  try { path = realpathSync(script); } catch { /* not a file: judged by its name */ }
  if (/[\\/]@cubejs-backend[\\/]server[\\/]|[\\/]cubejs-(dev-)?server$/.test(path)) return true;
  return /[\\/](cubejs|cubejs-cli[\\/].*)$/.test(path) && ['server', 'dev-server'].includes(command);
}

module.exports = { install, looksLikeCube };

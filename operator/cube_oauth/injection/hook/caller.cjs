'use strict';

/** @import {Loose} from './basics.cjs' */
/** @import {Settings} from './settings.cjs' */
const { isObject } = require('./basics.cjs');

/** @typedef {{username: string, issuer?: string, assertion: string | null}} Caller who Cube authenticated */

/**
 * The claim at a dotted path; where names have dots in them ("https://example.com/user.name"), it is found too.
 * @param {any} claims @param {string} path @returns {any}
 */
function claimAt(claims, path) {
  if (!isObject(claims)) return undefined;
  if (Object.hasOwn(claims, path)) return claims[path];
  for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
    const head = path.slice(0, dot);
    const found = Object.hasOwn(claims, head) ? claimAt(claims[head], path.slice(dot + 1)) : undefined;
    if (found !== undefined && found !== null) return found;
  }
  return undefined;
}

/** Whether a claim's value names a person: the same rule as for `UserCredential.spec.username`. */
function isUsername(/** @type {any} */ value) {
  if (typeof value !== 'string' || value === '' || [...value].length > 253) return false;
  return !/[\p{C}\p{Z}\s]/u.test(value) && value.normalize('NFC') === value;
}

/** The token that Cube verified (its own order of headers), or null: WebSocket messages and the SQL API have none. */
function assertionOf(/** @type {Loose} */ request) {
  const header = request.headers?.['x-cube-authorization'] || request.headers?.authorization;
  if (typeof header !== 'string') return null;
  const [scheme, token] = header.split(' ', 2);
  if (token === undefined) return scheme || null;
  return scheme.toLowerCase() === 'bearer' ? token : null; // a password (Basic) is nobody else's business
}

/**
 * Who the request's verified claims say it is, or the reason why they name nobody.
 * @param {any} claims @param {Loose} request @param {Settings} settings
 * @returns {{caller: Caller} | {reason: string}}
 */
function identify(claims, request, settings) {
  const issuer = isObject(claims) && typeof claims.iss === 'string' ? claims.iss : undefined;
  if (settings.issuer && issuer !== settings.issuer) return { reason: 'ForeignIssuer' };
  const username = claimAt(claims, settings.usernameClaim);
  if (!isUsername(username)) return { reason: 'NoCallerIdentity' };
  return { caller: { username, ...(issuer === undefined ? {} : { issuer }), assertion: assertionOf(request) } };
}

/**
 * Whoever Cube let in without naming anybody: has no credential, but the resolver knows which sources refuse whoever has none.
 * @type {Caller}
 */
const NOBODY = Object.freeze({ username: '', assertion: null });
const isNobody = (/** @type {Caller} */ { username }) => username === '';
/** The caller as the resolver is told. */
const inRequest = (/** @type {Caller} */ caller) => (isNobody(caller) ? null : caller);

/** Whether a context that is not ours says whose credentials to use. */
const bringsCredentials = (/** @type {any} */ context) => isObject(context?.cubeCloud) && ('username' in context.cubeCloud || 'userCredentials' in context.cubeCloud);

/** The security context without a person's name and credentials under `cubeCloud`; its other keys stay. */
function withoutCredentials(/** @type {any} */ context) {
  if (!isObject(context) || !('cubeCloud' in context)) return context;
  const { cubeCloud, ...rest } = context;
  if (!isObject(cubeCloud)) return rest;
  const { username: _username, userCredentials: _credentials, ...others } = cubeCloud;
  return Object.keys(others).length ? { ...rest, cubeCloud: others } : rest;
}

module.exports = { NOBODY, bringsCredentials, claimAt, identify, inRequest, isUsername, withoutCredentials };

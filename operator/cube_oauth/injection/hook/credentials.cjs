'use strict';

/** @import {Caller} from './caller.cjs' */
/** @import {Loose} from './basics.cjs' */
const { digest, isObject } = require('./basics.cjs');
const { NOBODY } = require('./caller.cjs');
const { unreachable } = require('./errors.cjs');

/**
 * @typedef {{status: string, reason?: string, accessToken?: string, expiresAt?: string, subject?: string,
 *   revision?: number, grant?: string, authorizeURL?: string, fallback?: string, open?: boolean}} Source what the resolver
 *   says about one data source; `open`: what counts as its token is no secret
 * @typedef {{sources: Record<string, Source>, userCredentials: Record<string, any>, eyes: string, validUntil: number}}
 *   Credentials one answer of the resolver, ready for use; `eyes` is '' for somebody who reads as the service account
 */

/** What Cube's code sees of a credential; everything else stays with the hook. */
const VISIBLE = ['status', 'expiresAt', 'subject', 'revision', 'grant'];

/** @param {Caller} caller @param {any} result of `resolve` @param {number} now @returns {Credentials} */
function credentialsFrom(caller, result, now) {
  if (!isObject(result?.credentials) || (result.username ?? NOBODY.username) !== caller.username) throw unreachable('an answer about nobody');
  /** @type {Record<string, Source>} */
  const sources = Object.fromEntries(Object.entries(result.credentials).map(([name, source]) => [name, usable(source, now)]));
  return {
    sources,
    userCredentials: Object.freeze(Object.fromEntries(Object.entries(sources).map(([name, source]) => [name, veiled(source)]))),
    eyes: eyesOf(caller, sources),
    validUntil: Math.min(...Object.values(sources).filter(isActive).map(endOf), Infinity),
  };
}

const isActive = (/** @type {Source | undefined} */ source) => source?.status === 'active' && Boolean(source.accessToken);
const endOf = (/** @type {Source} */ source) => (source.expiresAt ? Date.parse(source.expiresAt) : Infinity);
const denies = (/** @type {Source} */ source) => !isActive(source) && source.fallback === 'Deny';

/** The source, withheld when its token has ended. @param {Source} source @param {number} now @returns {Source} */
function usable(source, now) {
  if (isActive(source) && now < endOf(source)) return source;
  const { accessToken: _accessToken, expiresAt: _expiresAt, revision: _revision, grant: _grant, subject: _subject, ...rest } = source;
  return source.status === 'active' ? { ...rest, status: 'expired', reason: 'Expired' } : rest;
}

/** A credential for the security context: its token can be read, but is in no log line, JSON text or cache key. */
function veiled(/** @type {Loose} */ source) {
  const visible = Object.fromEntries(VISIBLE.filter((key) => source[key] !== undefined).map((key) => [key, source[key]]));
  if (isActive(/** @type {Source} */ (source))) Object.defineProperty(visible, 'accessToken', { value: source.accessToken, enumerable: false });
  return Object.freeze(visible);
}

/**
 * Whose eyes rows are read with: the person, the sources with a credential of theirs and its sign-in (not its token, so
 * that caches outlive a refresh), and the sources that refuse them. The same in every replica.
 * @param {Caller} caller @param {Record<string, Source>} sources
 */
function eyesOf(caller, sources) {
  const own = Object.entries(sources).filter(([, source]) => isActive(source) || denies(source))
    .map(([name, source]) => [name, isActive(source) ? source.grant ?? '' : null])
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
  return own.length ? digest(JSON.stringify([caller.issuer ?? null, caller.username, own])) : '';
}

const tokenOf = (/** @type {Credentials} */ credentials, /** @type {string} */ name) => credentials.sources[name]?.accessToken;
const tokensPrint = (/** @type {Credentials} */ credentials) => digest(JSON.stringify(Object.keys(credentials.sources).sort().map((name) => tokenOf(credentials, name) ?? '')));

module.exports = { credentialsFrom, denies, isActive, tokenOf, tokensPrint };

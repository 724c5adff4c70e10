// A log-in for each person on Cube's SQL API, so that a BI tool's queries run as whoever uses it.
// Put it beside your cube.js:  checkSqlAuth: require('./sql-login').checkSqlAuth
//
// The password is either a personal one that you made for this person (CUBE_SQL_PASSWORDS names a file, say a mounted Secret, with
// a line `username:sha256 of the password` for each), or a token of your identity provider that the REST API would take as well.
// The user name that is typed in must be the person's own. TLS in front of the SQL API is up to you: Cube asks for passwords in clear text.
'use strict';

const { createHash, createPublicKey, timingSafeEqual } = require('node:crypto');
const { readFile } = require('node:fs/promises');
const jwt = require('jsonwebtoken'); // comes with Cube

const CLAIM = process.env.CUBE_OAUTH_USERNAME_CLAIM || 'sub'; // these two are there wherever the operator's hook is
const ISSUER = process.env.CUBE_OAUTH_ISSUER || process.env.CUBEJS_JWT_ISSUER;

/** Until when somebody who logged in by a token may go on (seconds since the epoch), and what it said. */
const tokens = new Map();

/** Called by Cube for each connection; and every five minutes for those that are open, without the password. */
async function checkSqlAuth(_request, username, password) {
  const goesOn = password === null || password === undefined; // an empty one is a password
  const securityContext = goesOn ? await goOn(username) : await logIn(username, password);
  if (!securityContext) throw new Error(`Nobody logs in as "${username}" with this password`);
  return { securityContext, skipPasswordCheck: true };
}

async function logIn(username, password) {
  if (!/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/.test(password)) return byPassword(username, (expected) => timingSafeEqual(sha256(password), expected));
  const claims = await verified(password).catch(() => null);
  if (!claims || claimAt(claims, CLAIM) !== username) return null;
  tokens.set(username, claims);
  return claims;
}

async function goOn(username) {
  const claims = tokens.get(username);
  if (claims && Date.now() < claims.exp * 1000) return claims;
  tokens.delete(username);
  return byPassword(username, () => true);
}

const sha256 = (text) => createHash('sha256').update(text).digest();

/** The file is read each time: whoever is taken out of it is out within five minutes. */
async function byPassword(username, matches) {
  const file = process.env.CUBE_SQL_PASSWORDS;
  const lines = file ? (await readFile(file, 'utf8')).split('\n') : [];
  const line = lines.find((each) => each.slice(0, each.lastIndexOf(':')) === username);
  const expected = Buffer.from(line ? line.slice(username.length + 1).trim() : '', 'hex');
  if (expected.length !== 32 || !matches(expected)) return null;
  return { [CLAIM]: username, ...(ISSUER ? { iss: ISSUER } : {}) };
}

/** The token's claims, by Cube's own settings for the REST API. */
async function verified(token) {
  const { CUBEJS_JWK_URL: url, CUBEJS_JWT_AUDIENCE: audience, CUBEJS_JWT_KEY, CUBEJS_API_SECRET } = process.env;
  const [key, algorithms] = url
    ? [await publicKey(url, jwt.decode(token, { complete: true }).header.kid), ['RS256', 'RS384', 'RS512', 'PS256', 'ES256', 'ES384']]
    : [CUBEJS_JWT_KEY || CUBEJS_API_SECRET, ['HS256']];
  const claims = jwt.verify(token, key, { algorithms, audience, issuer: ISSUER });
  if (!claims.exp) throw new Error('a token that never ends is no log-in');
  return claims;
}

let keys = { readAt: 0, byID: new Map() };

async function publicKey(url, kid) {
  const age = Date.now() - keys.readAt;
  if (age > 600_000 || (age > 10_000 && !keys.byID.has(kid))) {
    const { keys: found } = await (await fetch(url)).json();
    keys = { readAt: Date.now(), byID: new Map(found.map((key) => [key.kid, createPublicKey({ key, format: 'jwk' })])) };
  }
  return keys.byID.get(kid);
}

/** The claim at a dotted path; also one whose own name has dots in it. */
function claimAt(claims, path) {
  if (typeof claims !== 'object' || claims === null || Object.hasOwn(claims, path)) return claims?.[path];
  const [head, ...rest] = path.split('.');
  return rest.length ? claimAt(claims[head], rest.join('.')) : undefined;
}

module.exports = { checkSqlAuth };

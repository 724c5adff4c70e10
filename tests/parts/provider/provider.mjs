// A certified OpenID provider (npm oidc-provider) for tests and the demo.
//
// PROVIDER_CONFIG: a JSON file, or the JSON itself; configuration() in __init__.py says what may be in it.
// Access tokens for the warehouse are JWTs whose `sub` is the user name. Refresh tokens are single-use: using one twice
// ends its grant. Everything is in memory. A second port lets a test look inside, and break things on purpose.

import { createHash, createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import Provider from 'oidc-provider';

const RESOURCE = 'urn:warehouse';

const source = process.env.PROVIDER_CONFIG;
const config = JSON.parse(source.startsWith('{') ? source : readFileSync(source, 'utf8'));
const clients = new Map(config.clients.map((client) => [client.client_id, client]));
const users = new Map(config.users.map((user) => [user.username, user]));
const lifetimes = { ...config.lifetimes }; // seconds; changed by PATCH /lifetimes; signIn: see signInEnds

// ---- storage

const rows = new Map(); // "Model:id" -> {payload, endsAt}
const spent = new Map(); // hash of a refresh token -> when it was redeemed first, in ms since 1970

const hash = (token) => createHash('sha256').update(token).digest('hex');

function alive(key) {
  const row = rows.get(key);
  if (row && row.endsAt <= Date.now()) rows.delete(key);
  return rows.get(key)?.payload;
}

const entriesOf = (model) => [...rows.keys()]
  .filter((key) => key.startsWith(`${model}:`))
  .map((key) => [key, alive(key)])
  .filter(([, payload]) => payload);

// oidc-provider's own memory adapter forgets after 1000 entries
class Memory {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload, expiresIn) {
    const endsAt = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
    rows.set(this.key(id), { payload, endsAt });
    if (payload.uid) rows.set(`${this.model}Uid:${payload.uid}`, { payload: { id }, endsAt });
  }

  async find(id) { return alive(this.key(id)); }

  async findByUid(uid) { return this.find(alive(`${this.model}Uid:${uid}`)?.id); }

  async findByUserCode() { return undefined; }

  async consume(id) {
    const payload = alive(this.key(id));
    if (payload) payload.consumed = Math.floor(Date.now() / 1000);
    if (this.model === 'RefreshToken') spent.set(hash(id), performance.timeOrigin + performance.now());
  }

  async destroy(id) { rows.delete(this.key(id)); }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of entriesOf(this.model)) if (payload.grantId === grantId) rows.delete(key);
  }
}

// ---- the provider

// With `signIn`, a sign-in ends so many seconds after it began, however often it is refreshed; and each answer says when.
function signInEnds(ctx) {
  if (!lifetimes.signIn) return undefined;
  const rotated = ctx?.oidc.entities.RotatedRefreshToken;
  return rotated ? rotated.remainingTTL : lifetimes.signIn;
}

const secondsLeft = (token) => Math.max(1, Math.floor((rows.get(`RefreshToken:${token}`).endsAt - Date.now()) / 1000));

async function sayWhenItEnds(ctx, next) {
  await next();
  const token = ctx.path === '/token' && lifetimes.signIn && ctx.body?.refresh_token;
  if (token) ctx.body = { ...ctx.body, refresh_token_expires_in: secondsLeft(token) };
}

// OAuth's own place for the metadata (RFC 8414, section 3), in the place of OpenID's.
async function oauthMetadata(ctx, next) {
  const [oauth, openid] = ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration'];
  if (config.oauthMetadata && ctx.path === openid) return ctx.throw(404);
  if (config.oauthMetadata && ctx.path === oauth) ctx.path = openid;
  return next();
}

const signingKey = config.signingKey // a PEM file: the keys survive a restart
  ? createPrivateKey(readFileSync(config.signingKey))
  : generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

async function findAccount(ctx, username) {
  const user = users.get(username);
  return user && {
    accountId: username,
    claims: async () => ({
      sub: username,
      preferred_username: username,
      name: username,
      email: username.includes('@') ? username : `${username}@example.org`,
      groups: user.groups,
    }),
  };
}

// One grant for one sign-in, so that taking back an old sign-in leaves a new one alone.
async function loadExistingGrant(ctx) {
  const { client, session, result, params } = ctx.oidc;
  if (result?.consent?.grantId) return provider.Grant.find(result.consent.grantId);
  if (config.rememberConsent) return provider.Grant.find(session.grantIdFor(client.clientId));
  if (!clients.get(client.clientId).skipConsent) return undefined;
  const grant = new provider.Grant({ accountId: session.accountId, clientId: client.clientId });
  grant.addOIDCScope(params.scope);
  await grant.save();
  return grant;
}

const provider = new Provider(config.issuer, {
  adapter: Memory,
  clients: config.clients.map(({ logIn, skipConsent, subject, withoutPKCE, ...metadata }) => metadata),
  findAccount,
  loadExistingGrant,
  jwks: { keys: [{ ...signingKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clockTolerance: 0, // a lifetime is what the configuration says
  pkce: { required: (ctx, client) => !clients.get(client.clientId).withoutPKCE },
  rotateRefreshToken: true,
  conformIdTokenClaims: false, // the claims belong into the ID token, not only to the userinfo endpoint
  claims: { openid: ['sub', 'preferred_username', 'groups'], profile: ['name'], email: ['email'] },
  ttl: {
    AccessToken: () => lifetimes.accessToken,
    AuthorizationCode: 600, // its own minute may be over before somebody redeems it who was made to wait
    ClientCredentials: () => lifetimes.clientCredentials,
    RefreshToken: (ctx) => signInEnds(ctx) ?? lifetimes.refreshToken,
    Grant: 90 * 86_400,
    IdToken: 3600,
    Interaction: 3600,
    Session: 86_400,
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // a client that only logs people in gets no token for the warehouse
      defaultResource: async (ctx, client) => (clients.get(client.clientId).logIn ? undefined : RESOURCE),
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: config.scopes,
        audience: config.audience,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  formats: {
    customizers: {
      jwt: async (ctx, token, jwt) => {
        if (token.kind === 'ClientCredentials') jwt.payload.sub = clients.get(token.clientId).subject ?? token.clientId;
      },
    },
  },
  renderError: async (ctx, out) => {
    ctx.type = 'html';
    ctx.body = page('The request was refused', `<p id="error">${escape(JSON.stringify(out))}</p>`);
  },
});

// ---- pages for people: plain forms, no script

const escape = (text) => String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const page = (title, content) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:1rem/1.5 sans-serif;max-width:22rem;margin:4rem auto;padding:0 1rem}
label,input,button{display:block;width:100%;box-sizing:border-box;margin:.5rem 0}input,button{font:inherit;padding:.5rem}
</style></head><body><main><h1>${escape(title)}</h1>${content}</main></body></html>`;

const logInPage = (uid, client, problem = '') => page('Log in', `
<p>to go on to <strong id="client">${escape(client)}</strong></p>
${problem && `<p id="problem" role="alert">${escape(problem)}</p>`}
<form id="log-in" method="post" action="/interaction/${uid}/log-in">
<label>User name <input name="username" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button id="submit" type="submit">Log in</button></form>`);

const consentPage = (uid, client, username, wanted) => page('Allow access', `
<p><strong id="client">${escape(client)}</strong> asks for access as <strong id="username">${escape(username)}</strong>:</p>
<ul id="scopes">${wanted.map((scope) => `<li>${escape(scope)}</li>`).join('')}</ul>
<form id="consent" method="post" action="/interaction/${uid}/consent">
<button id="allow" type="submit" name="decision" value="allow">Allow</button>
<button id="deny" type="submit" name="decision" value="deny">Deny</button></form>`);

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

async function show(ctx, { uid, prompt, params, session }) {
  const name = clients.get(params.client_id).client_name ?? params.client_id;
  ctx.type = 'html';
  ctx.body = prompt.name === 'login'
    ? logInPage(uid, name)
    : consentPage(uid, name, session.accountId, params.scope.split(' '));
}

async function logIn(ctx, { uid, params }, form) {
  const username = form.get('username');
  if (users.has(username) && form.get('password') === config.password) {
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: username } });
  }
  ctx.status = 401;
  ctx.type = 'html';
  ctx.body = logInPage(uid, clients.get(params.client_id).client_name ?? params.client_id, 'User name or password is wrong.');
  return undefined;
}

async function consent(ctx, { prompt, params, session, grantId }, form) {
  if (form.get('decision') !== 'allow') {
    const denied = { error: 'access_denied', error_description: 'the user said no' };
    return provider.interactionFinished(ctx.req, ctx.res, denied);
  }
  const grant = (grantId && await provider.Grant.find(grantId))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' ') || 'openid');
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
}

async function interactions(ctx, next) {
  const [, uid, step] = /^\/interaction\/([\w-]+)(?:\/(log-in|consent))?$/.exec(ctx.path) ?? [];
  if (!uid) return next();
  const details = await provider.interactionDetails(ctx.req, ctx.res); // refuses a browser that did not start it
  if (ctx.method !== 'POST') return show(ctx, details);
  const form = new URLSearchParams(await readBody(ctx.req));
  const answer = step === 'log-in' ? logIn : consent;
  const body = await answer(ctx, details, form);
  if (ctx.res.headersSent) ctx.respond = false;
  return body;
}

// Offline access is given without `prompt=consent` in the request too: this provider asks for consent every time.
async function offlineAccess(ctx, next) {
  const { scope = '', prompt } = ctx.query;
  if (ctx.path === '/auth' && !config.strictOfflineAccess && !prompt && String(scope).includes('offline_access')) {
    ctx.query = { ...ctx.query, prompt: 'consent' };
  }
  return next();
}

// ---- what a test may count, and break

let stats;
let redemptions; // hash of a refresh token -> how often it was redeemed
let reused; // hashes of the refresh tokens that came once more after they had been redeemed
let arrivals; // when each request for a token came, in ms since 1970
let fault = {}; // {times, status, body, retryAfter, delayMs, loseAnswer, cut}

function resetStats() {
  stats = { issued: {}, refused: {}, injected: 0, reuseDetected: 0, redeemedTwice: 0, revoked: 0, revocationRequests: 0 };
  redemptions = new Map();
  reused = new Set();
  arrivals = [];
}
resetStats();

const count = (counts, name) => { counts[name] = (counts[name] ?? 0) + 1; };

provider.on('grant.error', (ctx, error) => {
  count(stats.refused, error.error);
  if (error.error_detail !== 'refresh token already used') return;
  stats.reuseDetected += 1;
  reused.add(hash(ctx.oidc.params.refresh_token));
});
provider.on('grant.revoked', () => { stats.revoked += 1; });
provider.on('grant.success', (ctx) => {
  const { grant_type: type, refresh_token: token } = ctx.oidc.params;
  count(stats.issued, type);
  if (type !== 'refresh_token') return;
  const key = hash(token);
  redemptions.set(key, (redemptions.get(key) ?? 0) + 1);
  if (redemptions.get(key) !== 2) return;
  stats.redeemedTwice += 1;
  reused.add(key);
});

function refuse(ctx, { status, retryAfter, body }) {
  ctx.status = status;
  if (retryAfter !== undefined) ctx.set('Retry-After', String(retryAfter));
  ctx.body = body ?? { error: 'temporarily_unavailable' };
}

// What is broken about this request: what the request itself asks for (X-Fault, as JSON), else what PUT /fault set.
function currentFault(ctx) {
  if (ctx.path !== '/token') return undefined;
  if (ctx.get('x-fault')) return JSON.parse(ctx.get('x-fault'));
  if (!fault.times) return undefined;
  fault.times -= 1;
  return fault;
}

function hangUp(ctx) {
  ctx.respond = false;
  ctx.req.socket.destroy();
}

async function faults(ctx, next) {
  if (ctx.path === '/token/revocation') stats.revocationRequests += 1;
  if (ctx.path === '/token') arrivals.push(performance.timeOrigin + performance.now());
  const current = currentFault(ctx);
  if (!current) return next();
  stats.injected += 1;
  if (current.delayMs) await sleep(current.delayMs);
  if (current.cut) return hangUp(ctx);
  if (current.status) return refuse(ctx, current);
  await next();
  if (current.loseAnswer) hangUp(ctx); // the provider has rotated, the client never hears of it
  return undefined;
}

// Refresh tokens by their SHA-256: those that work, when the others were redeemed (ms since 1970), and which of these came again.
function refreshTokens() {
  const live = entriesOf('RefreshToken').filter(([, token]) => !token.consumed && alive(`Grant:${token.grantId}`));
  return {
    live: live.map(([key]) => hash(key.slice('RefreshToken:'.length))),
    spent: Object.fromEntries(spent),
    reused: [...reused],
  };
}

// Let all sign-ins end in so many seconds.
function endIn({ seconds }) {
  const endsAt = Date.now() + seconds * 1000;
  for (const [key, token] of entriesOf('RefreshToken')) {
    token.exp = Math.floor(endsAt / 1000);
    rows.get(key).endsAt = endsAt;
  }
  return { endsAt };
}

const grants = () => entriesOf('Grant').map(([, { jti, accountId, clientId }]) => ({
  id: jti,
  username: accountId,
  clientID: clientId,
  refreshTokens: entriesOf('RefreshToken').filter(([, token]) => token.grantId === jti && !token.consumed).length,
}));

function revoke(search) {
  const wanted = [...search];
  const gone = grants().filter((grant) => wanted.every(([name, value]) => grant[name] === value));
  for (const { id } of gone) {
    rows.delete(`Grant:${id}`);
    for (const [key, { grantId }] of entriesOf('RefreshToken')) if (grantId === id) rows.delete(key);
  }
  return gone;
}

const control = {
  'GET /stats': () => stats,
  'DELETE /stats': () => { resetStats(); return stats; },
  'GET /arrivals': () => arrivals,
  'PATCH /refresh-tokens': (url, body) => endIn(body),
  'PUT /fault': (url, body) => { fault = body; return fault; },
  'DELETE /fault': () => { fault = {}; return fault; },
  'GET /grants': () => grants(),
  'GET /refresh-tokens': () => refreshTokens(),
  'DELETE /grants': (url) => revoke(url.searchParams),
  'PATCH /lifetimes': (url, body) => Object.assign(lifetimes, body),
};

async function answerControl(request, response) {
  const url = new URL(request.url, 'http://control');
  const answer = control[`${request.method} ${url.pathname}`];
  response.setHeader('content-type', 'application/json');
  if (!answer) response.statusCode = 404;
  const body = await readBody(request);
  response.end(JSON.stringify(answer ? answer(url, body ? JSON.parse(body) : {}) : { known: Object.keys(control) }));
}

// ---- start

provider.use(sayWhenItEnds);
provider.use(faults);
provider.use(oauthMetadata);
provider.use(offlineAccess);
provider.use(interactions);

const answer = provider.callback();
const { host } = new URL(config.issuer);
const listener = (request, response) => {
  request.headers.host = host; // every address it gives lies under the issuer, however it was reached
  return answer(request, response);
};
const server = config.tls
  ? https.createServer({ key: readFileSync(config.tls.key), cert: readFileSync(config.tls.cert) }, listener)
  : http.createServer(listener);

http.createServer(answerControl).listen(config.control.port, config.control.host);
server.listen(config.listen.port, config.listen.host, () => console.log(`provider ${config.issuer} is up`));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));

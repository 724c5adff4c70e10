/**
 * The hook: per-user credentials for an unmodified Cube project.
 *
 * The resolver (our sidecar) writes this file into a shared memory volume, and Cube preloads it with
 * NODE_OPTIONS=--require. It speaks to the resolver over a unix socket (docs/reference/protocols.md), fills
 * `securityContext.cubeCloud` as the documentation of per-user OAuth describes it, and exchanges live drivers when a
 * token rotates, or the service account in Cube's environment. One file without dependencies, because it is loaded
 * before and beside whatever the image contains.
 *
 * What it touches inside Cube. A missing one stops Cube at start; nothing else of Cube is replaced. At start the log says
 * which version it met, and whether our tests ran with it (TESTED below).
 *
 * | internal                                        | why                                     | seen in                         |
 * | ----------------------------------------------- | --------------------------------------- | ------------------------------- |
 * | server: ServerContainer#lookupConfiguration     | the configuration of cube.js, cube.py   | 1.7.43, 1.6.57                  |
 * |                                                 | or none, in its final form              |                                 |
 * | server-core: CubejsServerCore#initApp           | refuse to serve what was not wrapped    | 1.7.43                          |
 * | server-core: CubejsServerCore#resolveDriver     | the one place where drivers are made    | 1.7.43, 1.6.57, 1.5.10, 1.3.40, |
 * |   (it calls this.options.driverFactory)         |                                         | 0.35.81                         |
 * | api-gateway: ApiGateway#contextByReq            | the verified claims, before a client's  | 1.7.43, 1.6.57, 1.5.10, 1.3.40  |
 * |                                                 | own words in a WebSocket message        |                                 |
 * | a driver: databasePoolError,                    | optional: stop a pool from logging in   | postgres-driver 1.7.43          |
 * |   pool._factory.create (generic-pool)           | for ever with a refused token           |                                 |
 * | Snowflake's driver: connection                  | optional: a session that could not be   | snowflake-driver 1.7.43         |
 * |                                                 | closed does not end the process         |                                 |
 * | Databricks' driver: config.properties           | optional: whether it presents the token | databricks-jdbc-driver 1.7.43   |
 *
 * Rules that the code below keeps:
 * - A credential comes from the resolver only. What a caller's token says under `cubeCloud` never reaches a driver.
 * - Without an answer of the resolver a person's request fails. The hook does not know then whether the person's data
 *   source falls back to the service account, and rows read through other eyes than yesterday's, unannounced, are
 *   worse than an error. (The resolver itself serves from memory while the broker is away.)
 * - A driver belongs to one identity for its whole life: the person and the sign-ins (grants) that it was made for.
 * - Tokens are not enumerable where Cube may serialise them, and are taken out of the errors that drivers throw.
 */
'use strict';

const { createHash, randomUUID } = require('node:crypto');
const { readFileSync, realpathSync } = require('node:fs');
const Module = require('node:module');
const net = require('node:net');
const { isMainThread } = require('node:worker_threads');

/**
 * @typedef {{username: string, issuer?: string, assertion: string | null}} Caller who Cube authenticated
 * @typedef {{status: string, reason?: string, accessToken?: string, expiresAt?: string, subject?: string,
 *   revision?: number, grant?: string, authorizeURL?: string, fallback?: string, open?: boolean}} Source what the resolver
 *   says about one data source; `open`: what counts as its token is no secret
 * @typedef {{sources: Record<string, Source>, userCredentials: Record<string, any>, eyes: string, validUntil: number}}
 *   Credentials one answer of the resolver, ready for use; `eyes` is '' for somebody who reads as the service account
 * @typedef {{caller: Caller, credentials: Credentials, nameless?: string}} Identity `nameless`: why the caller is NOBODY
 * @typedef {{socket: string, usernameClaim: string, issuer: string, unauthenticated: boolean, account?: string[]}} Settings
 * @typedef {Record<PropertyKey, any>} Loose an object of Cube's, whose types we do not have
 */

// Read before Cube reads the project's .env file: a project does not choose whom the operator trusts.
/** @type {Settings} */
const SETTINGS = Object.freeze({
  socket: process.env.CUBE_OAUTH_SOCKET || '',
  usernameClaim: process.env.CUBE_OAUTH_USERNAME_CLAIM || 'sub',
  issuer: process.env.CUBE_OAUTH_ISSUER || '',
  unauthenticated: process.env.CUBE_OAUTH_UNAUTHENTICATED === 'allow',
  account: (process.env.CUBE_OAUTH_SERVICE_ACCOUNT || '').split(',').filter(Boolean),
});

const RESOLVE_MS = 3_000;
const INVALIDATE_MS = 11_000; // the resolver may take 10 s to force a refresh
const RECONNECT_MS = 100;
const COUNTS_MS = 1_000;
const STAY_MS = 500;
const MAX_LINE = 1 << 20;
const MAX_PEOPLE = 20_000;
const SAME_DECISION_MS = 60_000;
const IDLE_MS = 1_000 * (Number(process.env.CUBE_OAUTH_IDLE_SECONDS) || 300); // Cube releases no driver of an orchestrator it forgets
const DRAIN_MS = 600_000; // a query may run this long on a driver that was exchanged (Cube's own default limit)
const LATE_MS = 3_000;
const REFUSED_MS = 5_000; // no new log-in with a refused token for this long
const TRIES = 3; // each with a newer token than the one before, and at most one forced refresh

// ---- log ------------------------------------------------------------------------------------------------------------

/** One JSON object a line, like Cube's own production log. Never given a token. */
class Log {
  /** @type {Map<string, {reason: string, at: number, more: number}>} */
  #last = new Map();

  /** @param {(line: string) => void} [write] @param {(reason: string) => void} [count] @param {() => number} [now] */
  constructor(write = (line) => process.stdout.write(line), count = () => {}, now = Date.now) {
    this.write = write;
    this.count = count;
    this.now = now;
  }

  /** @param {'info' | 'warning' | 'error'} level @param {string} message @param {Loose} [details] */
  say(level, message, details = {}) {
    const time = new Date(this.now()).toISOString();
    this.write(`${JSON.stringify({ time, level, logger: 'cube-oauth', message, ...details })}\n`);
  }

  /**
   * Why somebody's query runs as whom: each one counted; a line at once when the reason is a new one, otherwise once a
   * minute with the number of times in between.
   * @param {string} reason @param {{username?: string, dataSource?: string, requestID?: string}} about
   */
  decided(reason, about) {
    this.count(reason);
    const key = JSON.stringify([about.username ?? { reason }, about.dataSource]);
    const last = this.#last.get(key);
    if (last && last.reason === reason && this.now() - last.at < SAME_DECISION_MS) {
      last.more += 1;
      return;
    }
    this.#last.delete(key);
    this.#last.set(key, { reason, at: this.now(), more: 0 });
    trim(this.#last, MAX_PEOPLE);
    this.say(SUSPICIOUS.has(reason) ? 'warning' : 'info', 'credential decision', { reason, ...about, ...(last?.more ? { repeated: last.more } : {}) });
  }
}

/** Reasons that an administrator should look into. */
const SUSPICIOUS = new Set(['BrokerUnreachable', 'ForeignIssuer', 'ForgedCredentials', 'TokenIgnored']);

/** @param {Map<any, any>} map forgets its oldest entries @param {number} max */
function trim(map, max) {
  for (const key of map.keys()) {
    if (map.size <= max) return;
    map.delete(key);
  }
}

// ---- the caller -----------------------------------------------------------------------------------------------------

/** @param {any} value @returns {value is Loose} */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The claim at a dotted path; a claim whose own name has dots in it ("https://example.com/name") is found too.
 * @param {any} claims @param {string} path @returns {any}
 */
function claimAt(claims, path) {
  if (!isObject(claims)) return undefined;
  if (Object.hasOwn(claims, path)) return claims[path];
  const dot = path.indexOf('.');
  const head = dot < 0 ? path : path.slice(0, dot);
  return dot < 0 || !Object.hasOwn(claims, head) ? undefined : claimAt(claims[head], path.slice(dot + 1));
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

// ---- the resolver ---------------------------------------------------------------------------------------------------

/** Why there is no answer; `reason` is one of the protocol's. The message may reach a client. */
class CredentialError extends Error {
  /** @param {string} reason @param {string} message */
  constructor(reason, message) {
    super(message);
    this.name = 'CredentialError';
    this.reason = reason;
  }
}

/** The socket is not there, or went away before the answer: worth another try. */
class NotConnected extends Error {}

/** JSON-RPC over the resolver's socket: connected when needed, requests pipelined. It keeps no process alive. */
class ResolverSocket {
  /** @type {Promise<net.Socket> | null} */
  #connection = null;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
  #pending = new Map();
  #lastID = 0;
  /** @type {Record<string, Record<string, number>>} what happened and was not told yet */
  #counts = {};
  /** @type {NodeJS.Timeout | null} */
  #telling = null;
  #stays = false;

  /** @param {string} path @param {(username?: string) => void} onChanged who is to be forgotten; everybody when absent */
  constructor(path, onChanged) {
    this.path = path;
    this.onChanged = onChanged;
    /** @type {(values: any) => void} what service accounts fill in the environment */
    this.onEnvironment = () => {};
  }

  /** Be connected from now on, whether or not anything is asked. */
  stay() {
    this.#stays = true;
    (this.#connection ??= this.#connect()).catch(() => {});
  }

  /**
   * @param {string} method @param {Loose} params @param {number} milliseconds until an error, whatever happens
   * @returns {Promise<any>}
   */
  async request(method, params, milliseconds) {
    const until = Date.now() + milliseconds;
    for (;;) {
      try {
        return await this.#attempt(method, params, until - Date.now());
      } catch (error) {
        if (!(error instanceof NotConnected)) throw error;
        if (Date.now() + RECONNECT_MS >= until) throw unreachable(error.message);
        await new Promise((resolve) => { setTimeout(resolve, RECONNECT_MS).unref(); });
      }
    }
  }

  /** Something happened; the resolver has it in its metrics. @param {'decisions' | 'drivers'} kind @param {string} what */
  count(kind, what) {
    const counts = this.#counts[kind] ??= {};
    counts[what] = (counts[what] ?? 0) + 1;
    this.#telling ??= setTimeout(() => this.#tellCounts(), COUNTS_MS).unref();
  }

  /** Without a connection they wait for whatever happens next. */
  async #tellCounts() {
    this.#telling = null;
    const socket = await (this.#connection ??= this.#connect()).catch(() => null);
    if (!socket) return;
    socket.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'count', params: this.#counts })}\n`);
    this.#counts = {};
  }

  /** @param {string} method @param {Loose} params @param {number} milliseconds */
  async #attempt(method, params, milliseconds) {
    const socket = await (this.#connection ??= this.#connect());
    const id = ++this.#lastID;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(reject)(unreachable('no answer in time')), milliseconds).unref();
      const settle = (/** @type {(value: any) => void} */ how) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        this.#pending.delete(id);
        how(value);
      };
      this.#pending.set(id, { resolve: settle(resolve), reject: settle(reject) });
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    });
  }

  /** @returns {Promise<net.Socket>} */
  #connect() {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.path).unref().setEncoding('utf8');
      let rest = '';
      socket.on('connect', () => resolve(socket));
      socket.on('data', (/** @type {any} */ chunk) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > MAX_LINE || !lines.every((line) => this.#read(line))) socket.destroy();
      });
      socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => reject(new NotConnected(error.code)));
      socket.on('close', () => {
        reject(new NotConnected('the connection was closed'));
        this.#connection = null;
        this.onChanged(); // nobody tells us any more what changes
        if (this.#stays) setTimeout(() => this.stay(), STAY_MS).unref();
        for (const { reject: lost } of [...this.#pending.values()]) lost(new NotConnected('the connection was closed'));
      });
    });
  }

  /** @param {string} line @returns {boolean} whether it could be understood */
  #read(line) {
    let message;
    try { message = JSON.parse(line); } catch { return false; }
    if (message.method === 'changed') this.onChanged(message.params?.username);
    if (message.method === 'env') this.onEnvironment(message.params?.values);
    const waiting = this.#pending.get(message.id);
    if (message.error) waiting?.reject(refusedBy(message.error));
    else waiting?.resolve(message.result);
    return true;
  }
}

/** @param {string} [detail] */
const unreachable = (detail) => new CredentialError('BrokerUnreachable',
  `The credentials of this user cannot be read now (BrokerUnreachable: ${detail}). Try again in a moment.`);

function refusedBy(/** @type {Loose} */ error) {
  const reason = error.data?.reason ?? 'BadRequest';
  return new CredentialError(reason, `The credentials of this user cannot be read (${reason}: ${error.message}).`);
}

/** What is known about people: bounded, single flight, forgotten at once when the resolver says so. */
class People {
  /** @type {Map<string, {caller: Caller, known: Credentials | null, asking: Promise<Credentials> | null}>} */
  #people = new Map();
  /** @type {Map<string, Promise<Credentials>>} */
  #invalidating = new Map();
  /** @type {Map<string, Set<LiveDriver>>} who has connections, by username */
  #connected = new Map();

  /** @param {string} path of the socket @param {{now?: () => number, max?: number}} [options] */
  constructor(path, { now = Date.now, max = MAX_PEOPLE } = {}) {
    this.now = now;
    this.max = max;
    this.socket = new ResolverSocket(path, (username) => this.forget(username));
  }

  /** What is known now without asking; never with a token that has ended. @param {Caller} caller */
  known(caller) {
    const person = this.#people.get(caller.username);
    if (!person?.known || person.caller.issuer !== caller.issuer) return null;
    return this.now() < person.known.validUntil ? person.known : null;
  }

  /** A person's credentials. @param {Caller} caller @param {string} [requestID] @returns {Promise<Credentials>} */
  async of(caller, requestID) {
    return this.known(caller) ?? this.#ask(caller, requestID);
  }

  /** A request of this person came: remember its assertion, which is the newest, and the person as recently seen. */
  seen(/** @type {Caller} */ caller) {
    const before = this.#people.get(caller.username);
    this.#people.delete(caller.username);
    const same = before && before.caller.issuer === caller.issuer;
    this.#people.set(caller.username, same ? Object.assign(before, { caller }) : { caller, known: null, asking: null });
    trim(this.#people, this.max);
  }

  /**
   * The warehouse refused a token before its time. The answer holds a newer one when a refresh could be forced.
   * @param {Caller} caller @param {string} dataSource @param {number | undefined} revision
   */
  async refused(caller, dataSource, revision) {
    const params = { caller: inRequest(this.#newest(caller)), dataSource, revision };
    const key = JSON.stringify([caller.username, caller.issuer, dataSource, revision]);
    const asking = this.#invalidating.get(key) ?? this.socket.request('invalidate', params, INVALIDATE_MS)
      .then((result) => this.#keep(caller, result))
      .finally(() => this.#invalidating.delete(key));
    this.#invalidating.set(key, asking);
    return asking;
  }

  /** @param {string} [username] everybody when absent */
  forget(username) {
    const people = username === undefined ? [...this.#people.values()] : [this.#people.get(username)];
    // whoever asked before may still use the answer on its way, nobody who asks from now on
    for (const person of people) if (person) Object.assign(person, { known: null, asking: null });
    const [connected] = (username !== undefined && this.#connected.get(username)) || [];
    if (connected) this.of(connected.caller).catch(() => {}); // the answer decides whether they are kept
  }

  /** @param {LiveDriver} driver has connections from now on, or has none any more */
  connected(driver, isConnected = true) {
    const { username } = driver.caller;
    const drivers = this.#connected.get(username) ?? new Set();
    if (isConnected) drivers.add(driver);
    else drivers.delete(driver);
    if (drivers.size) this.#connected.set(username, drivers);
    else this.#connected.delete(username);
  }

  /** @param {Caller} caller @returns {Caller} */
  #newest(caller) {
    const person = this.#people.get(caller.username);
    return person && person.caller.issuer === caller.issuer ? person.caller : caller;
  }

  /** @param {Caller} caller @param {string} [requestID] @returns {Promise<Credentials>} */
  #ask(caller, requestID) {
    const before = this.#people.get(caller.username);
    if (before?.asking && before.caller.issuer === caller.issuer) return before.asking;
    if (!before || before.caller.issuer !== caller.issuer) this.seen(caller);
    const person = /** @type {NonNullable<typeof before>} */ (this.#people.get(caller.username));
    const params = { caller: inRequest(person.caller), ...(requestID ? { requestID } : {}) };
    /** @type {Promise<Credentials>} */
    const asking = this.socket.request('resolve', params, RESOLVE_MS)
      .then((result) => (person.asking === asking ? this.#keep(caller, result) : credentialsFrom(caller, result, this.now())))
      .finally(() => { if (person.asking === asking) person.asking = null; });
    person.asking = asking;
    return asking;
  }

  /** @param {Caller} caller @param {any} result */
  #keep(caller, result) {
    const credentials = credentialsFrom(caller, result, this.now());
    const person = this.#people.get(caller.username);
    if (person && person.caller.issuer === caller.issuer) person.known = result.stale ? null : credentials; // the resolver could not ask: nor do we keep it
    for (const driver of [...this.#connected.get(caller.username) ?? []]) driver.heed(caller, credentials);
    return credentials;
  }
}

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

const digest = (/** @type {string} */ text) => createHash('sha256').update(text).digest('base64url').slice(0, 22);

// ---- the service account --------------------------------------------------------------------------------------------

/**
 * The environment variables that hold the service account, for as long as the operator knows newer values than the pod was
 * started with. To a LiveDriver it is what people are: whose credentials these are, and whether they rotated.
 */
class Account {
  /** @type {Map<string, string>} values of before, with their variables: a configuration may have kept one */
  #former = new Map();
  /** @type {Credentials | null} */
  #known = null;
  #withdrawn = new Set();

  /** @param {string[]} names of the variables @param {ResolverSocket} socket @param {Log} log @param {NodeJS.ProcessEnv} [env] */
  constructor(names, socket, log, env = process.env) {
    this.names = names;
    this.socket = socket;
    this.log = log;
    this.env = env;
    socket.onEnvironment = (values) => this.take(values);
  }

  /** Whether anything can rotate. */
  get rotates() { return this.names.length > 0; }

  /** Whether connections may outlast a newer value that the warehouse does not want (yet): not when one was withdrawn. */
  get outlasts() { return this.#withdrawn.size === 0; }

  /** From now on, hear of each rotation. */
  follow() {
    if (this.rotates) this.socket.stay();
  }

  /** @param {any} values by variable; null for one that was withdrawn. What is not in it stays as it is. */
  take(values) {
    if (!isObject(values)) return;
    const changed = this.names.filter((name) => Object.hasOwn(values, name) && this.#set(name, values[name]));
    if (!changed.length) return;
    this.#known = null;
    const withdrawn = changed.filter((name) => this.#withdrawn.has(name));
    if (withdrawn.length) this.log.say('warning', 'the service account was withdrawn; the OAuthApp says why', { reason: 'ServiceAccountWithdrawn', variables: withdrawn });
    else this.log.say('info', 'the service account rotated', { variables: changed });
  }

  /** @param {string} name @param {any} value @returns {boolean} whether it is another one now */
  #set(name, value) {
    const before = this.env[name];
    if (value === null ? before === undefined : typeof value !== 'string' || value === before) return false;
    if (before !== undefined && isSecret(name, before) && this.#former.size < FORMER) this.#former.set(before, name);
    if (value === null) {
      this.#withdrawn.add(name);
      delete this.env[name];
    } else {
      this.#withdrawn.delete(name);
      this.#former.delete(value);
      this.env[name] = value;
    }
    return true;
  }

  /** The values now. @returns {Credentials} */
  known() {
    return this.#known ??= {
      sources: Object.fromEntries(this.names.filter((name) => this.env[name]).map((name) => [name, this.#source(name)])),
      userCredentials: {},
      eyes: '',
      validUntil: Infinity,
    };
  }

  /** @param {string} name @returns {Source} */
  #source(name) {
    const value = /** @type {string} */ (this.env[name]);
    return { status: 'active', accessToken: value, open: !isSecret(name, value) };
  }

  async of() { return this.known(); }

  async refused() { return this.known(); }

  connected() {} // nobody's sign-in ends here

  /**
   * What driverFactory returned, with the values of now where it has one of before: Python's os.environ is a copy that was
   * made at the start, and a cube.js may read process.env once.
   * @param {any} config @returns {any}
   */
  renewed(config) {
    if (typeof config === 'string') return this.#renewedText(config);
    if (Array.isArray(config)) return config.map((each) => this.renewed(each));
    if (!isObject(config) || Object.getPrototypeOf(config) !== Object.prototype) return config;
    return Object.fromEntries(Object.entries(config).map(([key, value]) => [key, this.renewed(value)]));
  }

  /** @param {string} text */
  #renewedText(text) {
    for (const [former, name] of this.#former) {
      const now = this.env[name];
      if (now !== undefined && !text.includes(now)) text = text.replaceAll(former, () => now); // the value of now may begin like one of before
    }
    return text;
  }
}

const FORMER = 64; // the first ones count, which is what a configuration can have kept
const SHORTEST_SECRET = 8;
/** Whether a variable's value must not be told, and can be told apart from ordinary text. @param {string} name @param {string} value */
const isSecret = (name, value) => value.length >= SHORTEST_SECRET && !/USER(NAME)?$/.test(name);

// ---- the configuration ----------------------------------------------------------------------------------------------

/** Which security contexts we made for whom; Cube passes the object on unchanged. @type {WeakMap<object, Identity>} */
const identities = new WeakMap();
/** Configurations that went through `wrapConfiguration`, by their extendContext. @type {WeakSet<object>} */
const wrapped = new WeakSet();

const FACTORY_RESULT = Symbol('what driverFactory returned already');
const CREDENTIALS = Symbol('the credentials to give driverFactory, newer than those of the context');
const LOOKED_AT = Symbol('takes down whose credentials driverFactory looked at');

/** @param {any} context @returns {Identity | undefined} */
const identityOf = (context) => (isObject(context?.securityContext) ? identities.get(context.securityContext) : undefined);

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
  const config = { ...own };
  const driverFactory = own.driverFactory ?? generatedFactory(log, process.env);

  config.extendContext = async (/** @type {Loose} */ request) => {
    const claims = request.securityContext;
    request.securityContext = withoutCredentials(claims);
    const extensions = (await own.extendContext?.(request)) || {};
    const context = withoutCredentials(extensions.securityContext ?? request.securityContext);
    const forged = [claims, extensions.securityContext].some(bringsCredentials);
    const requestID = requestIDOf(request);
    const named = { ...(requestID.made ? { requestId: requestID.value } : {}), ...extensions };
    const found = blind ? { reason: 'DevelopmentMode' } : identify(context, request, settings);
    if (forged) log.decided('ForgedCredentials', { username: 'caller' in found ? found.caller.username : undefined, requestID: requestID.value });
    const securityContext = 'reason' in found
      ? await contextOfNobody(context, found.reason, requestID.value)
      : await contextOf(context, found.caller, requestID.value);
    return { ...named, securityContext, authInfo: securityContext };
  };

  const credentialsOf = async (/** @type {Caller} */ caller, /** @type {string | undefined} */ requestID) => (
    people.known(caller) ?? people.of(caller, requestID).then(inTurn, (error) => {
      log.decided(error.reason ?? 'BrokerUnreachable', { username: caller.username || undefined, requestID });
      throw error;
    }));

  const contextOf = async (/** @type {Loose} */ context, /** @type {Caller} */ caller, /** @type {string | undefined} */ requestID) => {
    const { username } = caller;
    people.seen(caller);
    const credentials = await credentialsOf(caller, requestID);
    for (const [dataSource, source] of Object.entries(credentials.sources)) {
      log.decided(source.reason ?? source.status, { username, dataSource, requestID });
    }
    const cubeCloud = { ...context.cubeCloud, username, userCredentials: credentials.userCredentials };
    const securityContext = { ...context, cubeCloud };
    identities.set(securityContext, { caller, credentials });
    return securityContext;
  };

  /** Nothing in the context says so, but a source with `fallback: Deny` refuses whoever is not named. */
  const contextOfNobody = async (/** @type {any} */ context, /** @type {string} */ reason, /** @type {string | undefined} */ requestID) => {
    log.decided(reason, { requestID });
    const credentials = await credentialsOf(NOBODY, requestID);
    if (!credentials.eyes) return context;
    const securityContext = { ...context };
    identities.set(securityContext, { caller: NOBODY, credentials, nameless: reason });
    return securityContext;
  };

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

/**
 * Requests that waited for one line of the resolver go on one after another: all at once, while Cube is cold, each of
 * them finds no compiled model and compiles one (measured for 100 requests of 20 users: 5 instead of 1, 505 MB instead of 230).
 * @template T @param {T} value @returns {Promise<T>}
 */
const inTurn = (value) => new Promise((resolve) => { setImmediate(resolve, value); });

/** The request's id as Cube will log it; where Cube would make one up unseen, we make it. @param {Loose} request */
function requestIDOf(request) {
  const given = request.headers ? request.headers['x-request-id'] || request.headers.traceparent : request.id ?? request.requestId;
  if (given || !request.headers) return { value: given === undefined ? undefined : String(given), made: false };
  return { value: `${randomUUID()}-span-1`, made: true };
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

// ---- the driver -----------------------------------------------------------------------------------------------------

// What is asked of the warehouse, beside every async function: these return promises without being one.
const ASKS = new Set(['query', 'stream', 'streamQuery', 'downloadQueryResults', 'downloadTable', 'unload', 'unloadFromQuery',
  'isUnloadSupported', 'tablesSchema', 'getSchemas', 'getTablesForSpecificSchemas', 'getColumnsForSpecificTables', 'getTablesQuery',
  'createSchemaIfNotExists', 'loadPreAggregationIntoTable', 'dropTable', 'uploadTable', 'uploadTableWithIndexes', 'tableColumnTypes',
  'queryColumnTypes', 'createTable', 'testConnection']);
// What may be asked a second time: it reads, or its statement does.
const READS = new Set(['testConnection', 'tablesSchema', 'tableColumnTypes', 'queryColumnTypes']);
const RUNS_STATEMENT = new Set(['query', 'stream', 'downloadQueryResults']);
const READING_STATEMENT = /^(\s|\(|--[^\n]*\n|\/\*.*?\*\/)*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|VALUES)\b/is;
const WRITES_WITHIN = /\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b/i; // WITH x AS (INSERT ...), SELECT ... INTO
const isRead = (/** @type {string} */ name, /** @type {any} */ statement) => (
  READS.has(name) || (RUNS_STATEMENT.has(name) && READING_STATEMENT.test(statement) && !WRITES_WITHIN.test(statement)));
const AsyncFunction = (async () => {}).constructor;

/**
 * How drivers say that the warehouse refused a log-in, by the `type` that driverFactory gives: codes are the error's `code`
 * or HTTP status, texts its message. From the drivers' own code and from failures recorded in tests/hook/refusals.json. A
 * sign that is mistaken costs one forced refresh and one more read. `ended`: the service closed a connection that a log-in
 * opened, and the driver will open another: the same token may do.
 * @typedef {{codes?: (string | number)[], texts?: RegExp[], ended?: (string | number)[]}} Signs
 */
/** @type {Signs} of any driver */
const SIGNS = { codes: [401], texts: [/authentication failed|\bunauthori[sz]ed\b|\b(status|code|HTTP)\W{0,3}(code\W{0,2})?401\b|token (has )?(expired|is invalid)|invalid (oauth )?(access )?token/i] };
/** @type {Signs} invalid_password and invalid_authorization_specification (PostgreSQL, appendix A) */
const POSTGRES_SIGNS = { codes: ['28P01', '28000'] };
/** @type {Signs} the client keeps the body of the 401 ("JWT expired 2267 milliseconds ago ...") and forgets the status; what fails in a statement has no such beginning */
const TRINO_SIGNS = { texts: [/^execution error:.*\b(JWT|claim|credentials|authentication)\b/i] };
/** @type {Record<string, Signs>} */
const SIGNS_BY_TYPE = {
  postgres: POSTGRES_SIGNS,
  redshift: POSTGRES_SIGNS,
  trino: TRINO_SIGNS,
  prestodb: TRINO_SIGNS,
  // snowflake-sdk, lib/constants/gs_errors.js: wrong password; session invalid, gone; its master token or ID token ended; OAuth token invalid, expired; and a JWT (Snowflake's documentation)
  // and its 407002: what a driver hears of a session that ended, whatever ended it
  snowflake: { codes: ['390100', '390104', '390111', '390114', '390144', '390195', '390303', '390318'], ended: [407002] },
  clickhouse: { codes: ['516', '194', '193'] }, // AUTHENTICATION_FAILED, REQUIRED_PASSWORD, WRONG_PASSWORD
  bigquery: { texts: [/invalid authentication credentials|\binvalid credentials\b/i] },
  // an ended OAuth token is a 403 there; "API error" is the driver's own connection test, which keeps the status text alone
  'databricks-jdbc': { texts: [/HTTP (response|error|request failed by) code: 40[13]/i, /^Databricks API error: (Unauthorized|Forbidden)$/] },
};
const ROLE_REFUSED = '390317'; // Snowflake: the role that was asked for is not one that the token's scope allows

/** @param {any} error @param {string} [type] of the driver; with a driver that was made elsewhere every sign counts */
const isRefusal = (error, type) => isCertainRefusal(error, type) || shows(error, { texts: SIGNS.texts });

/** Whether a code or a driver's own words say so; the words that count for any driver may also be part of a statement. @param {any} error @param {string} [type] */
const isCertainRefusal = (error, type) => shows(error, { codes: SIGNS.codes }) || (type ? [SIGNS_BY_TYPE[type] ?? {}] : Object.values(SIGNS_BY_TYPE))
  .some((signs) => shows(error, signs));

/** @param {any} error @param {Signs} signs */
const shows = (error, { codes = [], texts = [] }) => causes(error).some((each) => (
  [each.code, each.status, each.statusCode].some((code) => codes.includes(code)) || texts.some((text) => text.test(String(each.message ?? each)))));

/** Whether the service closed the connection, which says nothing about the token. @param {any} error @param {string} [type] */
const hasEnded = (error, type) => causes(error).some(({ code }) => SIGNS_BY_TYPE[type ?? '']?.ended?.includes(code));

/** The error and what caused it. @param {any} error @returns {any[]} */
function causes(error) {
  const chain = [];
  for (let each = error; each && chain.length < 5; each = each.cause) chain.push(each);
  return chain;
}

/** The error as it may be told: without tokens, and with what to do when it is about the role. @param {any} error @param {Plan} plan */
function told(error, { credentials, config }) {
  redacted(error, credentials);
  if (config?.type !== 'snowflake' || !causes(error).some(({ code }) => code === ROLE_REFUSED)) return error;
  return Object.assign(new CredentialError('RoleRefused', `Snowflake gives this user's connection no such role (RoleRefused): ask for the scope session:role:<ROLE> in the OAuthApp, or let driver_factory name no role for users. Snowflake says: ${error.message}`), { cause: error });
}

/** Takes tokens out of what an error says: some drivers serialise their whole configuration into it. @param {any} error */
function redacted(error, /** @type {Credentials} */ credentials) {
  const tokens = Object.values(credentials.sources).filter(({ open }) => !open).map((source) => source.accessToken).filter(Boolean);
  for (const each of causes(error).filter((one) => one instanceof Error)) {
    for (const key of Object.getOwnPropertyNames(each)) {
      const value = /** @type {Loose} */ (each)[key];
      for (const token of tokens) {
        if (typeof value === 'string' && value.includes(/** @type {string} */ (token))) {
          Object.defineProperty(each, key, { value: value.replaceAll(/** @type {string} */ (token), '[token]'), configurable: true, writable: true });
        }
      }
    }
  }
  return error;
}

/** One real driver, made with one set of tokens; counts what runs on it. */
class Opened {
  busy = 0;
  lastUsed = Date.now();
  retired = false;
  #released = false;
  /** @type {NodeJS.Timeout | undefined} */
  #draining;
  /** @type {any} what the pool reported when the warehouse refused a log-in */
  refusal = null;
  /** @type {Set<(error: any) => void>} */
  #waiting = new Set();

  /** @param {Loose} driver @param {Plan} plan */
  constructor(driver, plan) {
    this.driver = driver;
    this.credentials = plan.credentials;
    this.plan = plan;
    this.#heedRefusals();
  }

  /** Whether the warehouse refused the log-in. @param {any} error */
  isRefusal(error) {
    return isRefusal(error, this.plan.config?.type);
  }

  /** Whether the service closed the connection, so that the driver opens another one. @param {any} error */
  hasEnded(error) {
    return hasEnded(error, this.plan.config?.type);
  }

  /** @param {string} name @param {any[]} args @param {boolean} read @param {{running: any}} call learns what runs */
  ask(name, args, read, call) {
    return this.#busyWith(() => {
      call.running = this.driver[name](...args);
      return read ? this.#orRefusal(call.running) : call.running;
    });
  }

  /** The pool was refused a log-in, but this very call may have got one of the connections that are open. */
  stillAnswered(/** @type {any} */ running, /** @type {any} */ error) {
    return this.#busyWith(() => Promise.race([running, later(LATE_MS, error)]));
  }

  /** Busy until the answer, or the stream it is, has ended. @param {() => any} work @returns {Promise<any>} */
  async #busyWith(work) {
    this.busy += 1;
    let streams = false;
    try {
      const result = await work();
      streams = keepsBusy(this, result);
      return result;
    } catch (error) {
      throw told(error, this.plan);
    } finally {
      if (!streams) this.end();
    }
  }

  end() {
    this.busy -= 1;
    this.lastUsed = Date.now();
    if (this.retired) this.retire();
  }

  /** Nothing new runs on it; it is closed once what runs has ended. */
  retire() {
    this.retired = true;
    if (this.busy <= 0) this.#release();
    else this.#draining ??= setTimeout(() => this.#release(), DRAIN_MS).unref();
  }

  #release() {
    clearTimeout(this.#draining);
    if (this.#released) return;
    this.#released = true;
    Promise.resolve().then(() => { endQuietly(this.driver); return this.driver.release?.(); }).catch(() => {});
  }

  /** The answer, or the refusal that the pool reports before it. @param {any} answer @returns {Promise<any>} */
  #orRefusal(answer) {
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      Promise.resolve(answer).then(resolve, reject).finally(() => this.#waiting.delete(reject));
    });
  }

  /**
   * A pool (generic-pool) that cannot log in rejects nothing: it tries again without a pause until the caller's time is
   * up, 20 seconds and ten thousand log-ins. Its report is the only early sign; after it nothing more can be opened.
   */
  #heedRefusals() {
    const { driver } = this;
    const report = driver.databasePoolError;
    if (typeof report === 'function') {
      driver.databasePoolError = (/** @type {any} */ error) => {
        report.call(driver, redacted(error, this.credentials));
        if (!this.isRefusal(error)) return;
        this.refusal = error;
        for (const reject of [...this.#waiting]) reject(error);
      };
    }
    const factory = driver.pool?._factory;
    if (typeof factory?.create !== 'function') return;
    const create = factory.create.bind(factory);
    factory.create = (/** @type {any[]} */ ...args) => (this.refusal ? later(30_000, this.refusal) : create(...args));
  }
}

/**
 * Snowflake's driver waits for nobody when it closes its session, so that a failure (the session is gone already, the network)
 * is nobody's, and Node.js ends the whole process for it.
 */
function endQuietly(/** @type {Loose} */ driver) {
  if (typeof driver.connection?.then !== 'function') return;
  const closed = (/** @type {(error?: any) => void} */ done) => done();
  driver.connection = driver.connection.then(
    (/** @type {Loose} */ connection) => ({ destroy: (/** @type {any} */ done) => connection.destroy(() => closed(done)) }),
    () => ({ destroy: closed }),
  );
}

/** @param {number} milliseconds @param {any} error @returns {Promise<never>} */
const later = (milliseconds, error) => new Promise((_, reject) => { setTimeout(reject, milliseconds, error).unref(); });

/**
 * What Cube holds as one driver of one person (or of the service account): behind it the real driver is exchanged when the
 * token rotates. The new one is tested first, the old one ends what it runs. It is bound to one identity and never serves another.
 */
class LiveDriver {
  /** @type {Opened | null} */
  #current = null;
  /** @type {Promise<void> | null} */
  #opening = null;
  /** @type {{print: string, error: any, until: number} | null} */
  #refused = null;
  #tested = false;

  /**
   * @param {{plan: (credentials: Credentials) => Promise<Plan>, open: (plan: Plan) => Promise<Opened>}} maker
   * @param {Identity} identity @param {People | Account} people
   */
  constructor(maker, { caller, credentials }, people) {
    this.maker = maker;
    this.caller = caller;
    this.people = people;
    this.eyes = credentials.eyes;
    /** @type {Loose} the newest real driver: what is not asked of the warehouse is the same for any token */
    this.shape = {};
  }

  /** With the credentials as they are now: Cube makes a driver that failed before from the context it failed with. @returns {Promise<Loose>} the driver for Cube */
  async start() {
    this.#settle(await this.maker.open(await this.maker.plan(await this.#credentials())));
    return this.#proxy();
  }

  #proxy() {
    // The target holds no state of a real driver, so that an exchanged one is not kept, nor printed with the proxy.
    return new Proxy(Object.create(Object.getPrototypeOf(this.shape)), {
      get: (_, name) => {
        const value = this.shape[name];
        if (typeof value !== 'function' || name === 'constructor') return value;
        if (name === 'release') return async () => this.#drop();
        if (name === 'testConnection') return () => this.#test();
        const asks = ASKS.has(String(name)) || value instanceof AsyncFunction;
        return asks ? (/** @type {any[]} */ ...args) => this.#run(String(name), args) : value.bind(this.shape);
      },
      set: (_, name, value) => { this.shape[name] = value; return true; },
      has: (_, name) => name in this.shape,
    });
  }

  /** Cube tests a driver when it is made, and in its probes; a person's credential must not turn a probe red, the service account's must. */
  async #test() {
    if (!this.#tested || this.people instanceof Account) await this.#run('testConnection', []);
    this.#tested = true;
  }

  /**
   * Asks the real driver. A read whose log-in was refused is asked again with a newer token: those that rotated
   * meanwhile, and once a token that a refresh was forced for.
   * @param {string} name @param {any[]} args @returns {Promise<any>}
   */
  #run(name, args) {
    const read = isRead(name, args[0]);
    const call = { cancelled: false, running: /** @type {any} */ (null) };
    const attempts = async () => {
      for (let attempt = 1, forced = false, ended = false; ; attempt++) {
        const opened = await this.#use();
        try {
          return await opened.ask(name, args, read, call);
        } catch (error) {
          if (!read || call.cancelled) throw error;
          if (!ended && opened.hasEnded(error)) { ended = true; continue; }
          if (!opened.isRefusal(error)) throw error;
          if (attempt < TRIES && await this.#rotated(opened)) continue;
          if (!forced && await this.#forced(opened)) { forced = true; continue; }
          if (error !== opened.refusal) {
            if (isCertainRefusal(error, opened.plan.config?.type)) this.#remember(opened, error);
            throw error;
          }
          const late = opened.stillAnswered(call.running, error);
          this.#remember(opened, error);
          return late;
        }
      }
    };
    return Object.assign(attempts(), { cancel: () => { call.cancelled = true; return call.running?.cancel?.(); } });
  }

  /** The driver to ask now. @returns {Promise<Opened>} */
  async #use() {
    for (;;) {
      const credentials = await this.#credentials();
      if (!this.#current || this.#current.refusal || isStale(this.#current, credentials)) {
        const opening = this.#opening ??= this.#exchange(credentials).finally(() => { this.#opening = null; });
        await opening.catch((error) => this.#goOn(credentials, error));
      }
      if (this.#current) return this.#current;
    }
  }

  /** The service account's connections of before may serve on, while the warehouse does not let the newer value in. @param {Credentials} credentials @param {any} error */
  #goOn(credentials, error) {
    if (!(this.people instanceof Account) || !this.people.outlasts || !this.#current || this.#current.refusal) throw error;
    this.#refused = { print: tokensPrint(credentials), error, until: Date.now() + REFUSED_MS };
  }

  /** The person's credentials now, while they are still those of the identity this driver belongs to. */
  async #credentials() {
    const credentials = this.people.known(this.caller) ?? await this.people.of(this.caller);
    if (credentials.eyes === this.eyes) return credentials;
    this.#drop();
    this.#count('ended');
    throw new CredentialError('CredentialEnded', `The credential of ${this.caller.username || 'this request'} ended or was replaced while this query waited. Run the query again.`);
  }

  /** @param {Credentials} credentials */
  async #exchange(credentials) {
    for (let attempt = 1; ; attempt++) {
      const print = tokensPrint(credentials);
      if (this.#refused?.print === print && Date.now() < this.#refused.until) throw this.#refused.error;
      const plan = await this.maker.plan(credentials);
      if (this.#current && !this.#current.refusal && plan.print && plan.print === this.#current.plan.print) { // another source's token changed
        this.#current.credentials = credentials;
        return;
      }
      const next = await this.maker.open(plan);
      if (next.driver === this.#current?.driver) { // a driverFactory that always gives the same one
        this.#current.credentials = credentials;
        return;
      }
      const error = await next.driver.testConnection().then(() => null, (/** @type {any} */ failure) => told(failure, plan));
      if (!error) { this.#settle(next); return; }
      next.retire();
      if (!next.isRefusal(error)) throw error;
      const newer = await this.#rotated(next) ?? (attempt === 1 ? await this.#forced(next) : null);
      if (!newer || attempt === TRIES) { this.#remember(next, error); throw error; }
      credentials = newer;
    }
  }

  /** @param {Opened} opened the driver from now on */
  #settle(opened) {
    this.#count(this.#current ? 'exchanged' : 'opened');
    this.#current?.retire();
    this.#current = opened;
    this.shape = opened.driver;
    this.people.connected(this);
    this.#closeWhenIdle(opened);
  }

  #drop() {
    this.#current?.retire();
    this.#current = null;
    this.people.connected(this, false);
  }

  /** Nobody will ask a driver of a sign-in that is over: its connections are not kept until they are idle. @param {Caller} caller @param {Credentials} now */
  heed(caller, now) {
    if (caller.issuer === this.caller.issuer && now.eyes !== this.eyes) this.#drop();
  }

  /** @param {'opened' | 'exchanged' | 'refused' | 'refreshForced' | 'ended'} what */
  #count(what) {
    this.people.socket.count('drivers', what);
  }

  /** The warehouse wants none of these tokens, and there are no others: no log-in with them for a while. */
  #remember(/** @type {Opened} */ opened, /** @type {any} */ error) {
    this.#count('refused');
    this.#refused = { print: tokensPrint(opened.credentials), error, until: Date.now() + REFUSED_MS };
    if (this.#current === opened) this.#drop();
  }

  /** The same identity's credentials now, when they are newer than the refused ones. @param {Opened} opened */
  async #rotated(opened, asking = this.people.of(this.caller)) {
    const now = await asking.catch(() => null);
    return now && now.eyes === this.eyes && isStale(opened, now) ? now : null;
  }

  /** The same after a refresh was forced. @param {Opened} opened */
  async #forced(opened) {
    const dataSource = opened.plan.presents;
    if (!dataSource) return null;
    this.#count('refreshForced');
    return this.#rotated(opened, this.people.refused(this.caller, dataSource, opened.credentials.sources[dataSource].revision));
  }

  /** @param {Opened} opened */
  #closeWhenIdle(opened, milliseconds = IDLE_MS) {
    setTimeout(() => {
      if (opened.retired) return;
      const left = opened.busy ? IDLE_MS : opened.lastUsed + IDLE_MS - Date.now();
      if (left > 0) this.#closeWhenIdle(opened, left);
      else this.#drop();
    }, milliseconds).unref();
  }
}

const tokenOf = (/** @type {Credentials} */ credentials, /** @type {string} */ name) => credentials.sources[name]?.accessToken;
const tokensPrint = (/** @type {Credentials} */ credentials) => digest(JSON.stringify(Object.keys(credentials.sources).sort().map((name) => tokenOf(credentials, name) ?? '')));
/** Whether a token that the driver was made with is no longer the person's. */
const isStale = (/** @type {Opened} */ opened, /** @type {Credentials} */ now) => [...opened.plan.lookedAt]
  .some((name) => tokenOf(opened.credentials, name) !== tokenOf(now, name));

/** A stream keeps its driver busy until it is over. @param {Opened} opened @param {any} result @returns {boolean} */
function keepsBusy(opened, result) {
  let free = () => { free = () => {}; opened.end(); };
  if (typeof result?.release === 'function') {
    const { release } = result;
    result.release = async (/** @type {any[]} */ ...args) => {
      try { return await release.apply(result, args); } finally { free(); }
    };
    return true;
  }
  const stream = result?.rowStream ?? result;
  if (typeof stream?.pipe !== 'function') return false;
  for (const event of ['close', 'end', 'error']) stream.once(event, () => free());
  return true;
}

/**
 * @typedef {{config: any, print: string | null, credentials: Credentials, lookedAt: Set<string>, presents: string | undefined, written?: string}}
 *   Plan what driverFactory wants: its result, whose credentials it looked at, whose token the driver presents
 */

/**
 * Plans and opens the drivers of one person and one data source of Cube's.
 * @param {Loose} core @param {Function} resolveDriver Cube's own @param {Loose} context @param {any} options @param {Log} log
 */
function makerOf(core, resolveDriver, context, options, log) {
  const identity = /** @type {Identity} */ (identityOf(context));
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
      const given = { ...context, [CREDENTIALS]: plan.credentials, [FACTORY_RESULT]: plan.config };
      const driver = await resolveDriver.call(core, given, options).catch((/** @type {any} */ error) => { throw redacted(error, plan.credentials); });
      driver.setLogger?.(core.logger);
      if (plan.written && ignoresToken(driver)) {
        log.decided('TokenIgnored', { username: identity.caller.username, dataSource: plan.written });
        throw new CredentialError('TokenIgnored', `Databricks' driver ignores the token of ${identity.caller.username} (TokenIgnored): it has an OAuth client of its own. Remove oauthClientId and oauthClientSecret from driver_factory, and CUBEJS_DB_DATABRICKS_OAUTH_CLIENT_ID and _SECRET from the environment; the service account then needs CUBEJS_DB_DATABRICKS_TOKEN.`);
      }
      return new Opened(driver, plan);
    },
  };
}

/** Databricks' driver prefers a client ID and secret, of the configuration or the environment, to any token. */
const ignoresToken = (/** @type {Loose} */ driver) => Boolean(driver.config?.properties?.OAuth2ClientID);

/**
 * The same for the service account. What a driver reads from the environment itself is not in its configuration, so that any
 * value that changed makes another driver.
 * @param {Loose} core @param {Function} resolveDriver Cube's own @param {Loose} context @param {any} options @param {Account} account
 */
function makerOfAccount(core, resolveDriver, context, options, account) {
  return {
    /** @param {Credentials} credentials @returns {Promise<Plan>} */
    async plan(credentials) {
      const config = account.renewed(await core.options.driverFactory(context));
      return { config, print: null, credentials, lookedAt: new Set(account.names), presents: undefined };
    },
    /** @param {Plan} plan */
    async open(plan) {
      const driver = await resolveDriver.call(core, { ...context, [FACTORY_RESULT]: plan.config }, options).catch((/** @type {any} */ error) => { throw redacted(error, plan.credentials); });
      driver.setLogger?.(core.logger);
      return new Opened(driver, plan);
    },
  };
}

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

// ---- installation ---------------------------------------------------------------------------------------------------

/** @typedef {{people: People, settings: Settings, log: Log, account?: Account}} Given */
/** @type {Given} */
const GIVEN = (() => {
  const people = new People(SETTINGS.socket);
  const log = new Log(undefined, (reason) => people.socket.count('decisions', reason));
  return { people, settings: SETTINGS, log, account: new Account(SETTINGS.account ?? [], people.socket, log) };
})();

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

/** Whether Cube lets everybody in without verifying who it is; as Cube itself decides it. @param {NodeJS.ProcessEnv} env */
function isDevelopment(env) {
  return env.NODE_ENV !== 'production' || !['', 'false', '0', 'no'].includes((env.CUBEJS_DEV_MODE ?? '').toLowerCase());
}

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
function patch(filename, exported, given = GIVEN) {
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

/**
 * NODE_OPTIONS reaches every Node.js process of the container (npm, health scripts, Cube's own worker threads): in those
 * nothing happens but that this function replaces a loader by one that does the same.
 */
function install() {
  const extensions = /** @type {any} */ (Module)._extensions;
  const load = extensions['.js'];
  const missing = new Set(PATCHES.map(({ file }) => file));
  extensions['.js'] = (/** @type {any} */ module, /** @type {string} */ filename) => {
    load(module, filename);
    if (!filename.includes('cubejs-backend')) return;
    patch(filename, module.exports);
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

if (isMainThread) install();

module.exports = { Account, CredentialError, LiveDriver, Log, Opened, People, SIGNS_BY_TYPE, claimAt, isDevelopment, hasEnded, isRefusal, isUsername, looksLikeCube, patch, redacted, tellVersion, wrapConfiguration };

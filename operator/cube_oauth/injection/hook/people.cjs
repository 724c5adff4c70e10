'use strict';

/** @import {Caller} from './caller.cjs' */
/** @import {Credentials} from './credentials.cjs' */
const { trim } = require('./basics.cjs');
const { inRequest } = require('./caller.cjs');
const { credentialsFrom } = require('./credentials.cjs');
const { ResolverSocket } = require('./socket.cjs');

const RESOLVE_MS = 3_000;
const INVALIDATE_MS = 11_000; // the resolver may take 10 s to force a refresh
const MAX_PEOPLE = 20_000;

/** @typedef {{caller: Caller, heed: (caller: Caller, now: Credentials) => void}} Connected who wants to hear of a person: a LiveDriver */

/** What is known about people: bounded, single flight, forgotten at once when the resolver says so. */
class People {
  /** @type {Map<string, {caller: Caller, known: Credentials | null, asking: Promise<Credentials> | null}>} */
  #people = new Map();
  /** @type {Map<string, Promise<Credentials>>} */
  #invalidating = new Map();
  #forgotten = 0; // how often somebody changed
  /** @type {Map<string, Set<Connected>>} who has connections, by username */
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
    const before = this.#forgotten;
    const asking = this.#invalidating.get(key) ?? this.socket.request('invalidate', params, INVALIDATE_MS)
      .then((result) => (this.#forgotten === before ? this.#keep(caller, result) : credentialsFrom(caller, result, this.now())))
      .finally(() => this.#invalidating.delete(key));
    this.#invalidating.set(key, asking);
    return asking;
  }

  /** @param {string} [username] everybody when absent */
  forget(username) {
    this.#forgotten += 1;
    const people = username === undefined ? [...this.#people.values()] : [this.#people.get(username)];
    // whoever asked before may still use the answer on its way, nobody who asks from now on
    for (const person of people) if (person) Object.assign(person, { known: null, asking: null });
    const [connected] = (username !== undefined && this.#connected.get(username)) || [];
    if (connected) this.of(connected.caller).catch(() => {}); // the answer decides whether they are kept
  }

  /** @param {Connected} driver has connections from now on, or has none any more */
  connected(driver, isConnected = true) {
    const { username } = driver.caller;
    const drivers = this.#connected.get(username) ?? new Set();
    if (isConnected) drivers.add(driver);
    else drivers.delete(driver);
    if (drivers.size) this.#connected.set(username, drivers);
    else this.#connected.delete(username);
    if (isConnected) this.of(driver.caller).then((now) => driver.heed(driver.caller, now), () => {}); // what was said before could not reach it
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

module.exports = { People };

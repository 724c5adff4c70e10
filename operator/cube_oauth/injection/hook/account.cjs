'use strict';

/** @import {Credentials, Source} from './credentials.cjs' */
/** @import {Log} from './log.cjs' */
/** @import {ResolverSocket} from './socket.cjs' */
const { isObject } = require('./basics.cjs');

const INVALIDATE_MS = 11_000; // the resolver waits up to 10 s for another token
const REPORTED_MS = 30_000; // one report of a variable's token in this time; the operator fetches no other sooner
const FORMER = 64; // the first ones count, which is what a configuration can have kept
const SHORTEST_SECRET = 8;
/** Whether a variable's value must not be told, and can be told apart from ordinary text. @param {string} name @param {string} value */
const isSecret = (name, value) => value.length >= SHORTEST_SECRET && !/USER(NAME)?$/.test(name);

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
  /** @type {Record<string, number>} which token each variable holds, of those that the operator can fetch anew */
  #revisions = {};
  /** @type {Map<string, {at: number, answer: Promise<any>}>} which variables' tokens were refused, as the resolver was told last */
  #reported = new Map();

  /** @param {string[]} names of the variables @param {ResolverSocket} socket @param {Log} log @param {NodeJS.ProcessEnv} [env] */
  constructor(names, socket, log, env = process.env) {
    this.names = names;
    this.socket = socket;
    this.log = log;
    this.env = env;
    socket.onEnvironment = (params) => this.take(params);
  }

  /** Whether anything can rotate. */
  get rotates() { return this.names.length > 0; }

  /** Whether connections may outlast a newer value that the warehouse does not want (yet): not when one was withdrawn. */
  get outlasts() { return this.#withdrawn.size === 0; }

  /** From now on, hear of each rotation. */
  follow() {
    if (this.rotates) this.socket.stay();
  }

  /** @param {any} params `values` by variable; null for one that was withdrawn, what is not in it stays as it is. `revisions` of them */
  take(params) {
    const { values, revisions } = params ?? {};
    if (!isObject(values)) return;
    this.#revisions = isObject(revisions) ? revisions : {};
    this.#known = null;
    const changed = this.names.filter((name) => Object.hasOwn(values, name) && this.#set(name, values[name]));
    if (!changed.length) return;
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
    return { status: 'active', accessToken: value, revision: this.#revisions[name], open: !isSecret(name, value) };
  }

  async of() { return this.known(); }

  /**
   * The warehouse refused a token before its time. The values then: newer ones, when another token came in time. Told rarely:
   * everybody's queries run into the same refusal, and a sign of one may be mistaken.
   * @param {any} _caller @param {string} name of its variable @param {number | undefined} revision @returns {Promise<Credentials>}
   */
  async refused(_caller, name, revision) {
    const last = this.#reported.get(name);
    const told = last && Date.now() - last.at < REPORTED_MS ? last
      : { at: Date.now(), answer: this.socket.request('invalidateAccount', { variable: name, revision }, INVALIDATE_MS) };
    this.#reported.set(name, told);
    await told.answer;
    return this.known();
  }

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

module.exports = { Account };

'use strict';

/** @import {Caller} from './caller.cjs' */
/** @import {Credentials} from './credentials.cjs' */
/** @import {Identity} from './identity.cjs' */
/** @import {Loose} from './basics.cjs' */
/** @import {Opened, Plan} from './opened.cjs' */
/** @import {People} from './people.cjs' */
const { Account } = require('./account.cjs');
const { tokenOf, tokensPrint } = require('./credentials.cjs');
const { CredentialError } = require('./errors.cjs');
const { isCertainRefusal, told } = require('./refusals.cjs');
const { ASKS, AsyncFunction, isRead } = require('./statements.cjs');

const IDLE_MS = 1_000 * (Number(process.env.CUBE_OAUTH_IDLE_SECONDS) || 300); // Cube releases no driver of an orchestrator it forgets
const REFUSED_MS = 5_000; // no new log-in with a refused token for this long
const TRIES = 20; // each with a newer token than the one before, and at most one forced refresh: as many as rotate while a busy Cube logs in

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
    for (let attempt = 1, forced = false; ; attempt++) {
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
      let newer = await this.#rotated(next);
      if (!newer && !forced) { forced = true; newer = await this.#forced(next); }
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

/** Whether a token that the driver was made with is no longer the person's. */
const isStale = (/** @type {Opened} */ opened, /** @type {Credentials} */ now) => [...opened.plan.lookedAt]
  .some((name) => tokenOf(opened.credentials, name) !== tokenOf(now, name));

module.exports = { LiveDriver };

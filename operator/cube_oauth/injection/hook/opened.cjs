'use strict';

/** @import {Loose} from './basics.cjs' */
/** @import {Credentials} from './credentials.cjs' */
const { later } = require('./basics.cjs');
const { redacted } = require('./redaction.cjs');
const { hasEnded, isRefusal, told } = require('./refusals.cjs');

const DRAIN_MS = 600_000; // a query may run this long on a driver that was exchanged (Cube's own default limit)
const LATE_MS = 3_000;

/**
 * @typedef {{config: any, print: string | null, credentials: Credentials, lookedAt: Set<string>, presents: string | undefined, written?: string}}
 *   Plan what driverFactory wants: its result, whose credentials it looked at, whose token the driver presents
 */

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

module.exports = { Opened };

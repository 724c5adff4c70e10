'use strict';

/** @import {Loose} from './basics.cjs' */
const { trim } = require('./basics.cjs');

const SAME_DECISION_MS = 60_000;
const MAX_DECISIONS = 20_000;

/** Reasons that an administrator should look into. */
const SUSPICIOUS = new Set(['BrokerUnreachable', 'ForeignIssuer', 'ForgedCredentials', 'TokenIgnored']);

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
    trim(this.#last, MAX_DECISIONS);
    this.say(SUSPICIOUS.has(reason) ? 'warning' : 'info', 'credential decision', { reason, ...about, ...(last?.more ? { repeated: last.more } : {}) });
  }
}

module.exports = { Log };

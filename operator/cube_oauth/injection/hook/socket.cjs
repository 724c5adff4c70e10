'use strict';

/** @import {Loose} from './basics.cjs' */
const net = require('node:net');
const { CredentialError, unreachable } = require('./errors.cjs');

const RECONNECT_MS = 100;
const COUNTS_MS = 1_000;
const STAY_MS = 500;
const MAX_LINE = 1 << 20;

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
    /** @type {(params: any) => void} what service accounts fill in the environment */
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
      // An answer may be there already: a process that was busy (Cube compiles a model) hears of its timers before it reads.
      const over = () => setImmediate(() => settle(reject)(unreachable('no answer in time')));
      const timer = setTimeout(over, milliseconds).unref();
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
    if (message.method === 'env') this.onEnvironment(message.params);
    const waiting = this.#pending.get(message.id);
    if (message.error) waiting?.reject(refusedBy(message.error));
    else waiting?.resolve(message.result);
    return true;
  }
}

function refusedBy(/** @type {Loose} */ error) {
  const reason = error.data?.reason ?? 'BadRequest';
  return new CredentialError(reason, `The credentials of this user cannot be read (${reason}: ${error.message}).`);
}

module.exports = { ResolverSocket };

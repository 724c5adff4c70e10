// A resolver that does what a test says, and just enough of Cube's classes for the hook to patch.
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

/** The protocol's resolver on a unix socket; answers come from `sources` by username. */
export class FakeResolver {
  constructor() {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hook-'));
    this.path = path.join(this.folder, 'resolver.sock');
    this.sources = {}; // by username; those of '' are for whoever is not named
    this.requests = [];
    this.counts = [];
    this.connections = new Set();
    this.onInvalidate = () => {};
    this.onInvalidateAccount = () => {};
    this.holds = null; // whose answers wait for `hold`
    this.hold = null;
  }

  async start() {
    this.server = net.createServer((connection) => this.#serve(connection));
    await new Promise((resolve) => { this.server.listen(this.path, resolve); });
    return this;
  }

  #serve(connection) {
    this.connections.add(connection);
    if (this.values) this.#sendEnvironment(connection);
    connection.on('close', () => this.connections.delete(connection)).on('error', () => {});
    let rest = '';
    connection.setEncoding('utf8').on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) this.#answer(connection, JSON.parse(line));
    });
  }

  async #answer(connection, { id, method, params }) {
    if (method === 'count') return this.counts.push(params);
    this.requests.push({ method, params });
    const username = params.caller?.username ?? '';
    if (method === 'invalidate') await this.onInvalidate(params);
    if (method === 'invalidateAccount') {
      await this.onInvalidateAccount(params);
      return connection.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: {} })}\n`);
    }
    const credentials = structuredClone(this.sources[username] ?? { warehouse: { status: 'missing', reason: 'NotConnected', fallback: 'ServiceAccount' } });
    if (username === this.holds) await this.hold;
    const answer = credentials.error ? { error: credentials.error } : { result: { ...(username && { username }), credentials, ...(this.stale && { stale: true }) } };
    return connection.write(`${JSON.stringify({ jsonrpc: '2.0', id, ...answer })}\n`);
  }

  /** `changed`, as the resolver sends it. */
  changed(username) {
    for (const connection of this.connections) connection.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'changed', params: username ? { username } : {} })}\n`);
  }

  /** `env`, as the resolver sends it: now, and to whoever connects later. */
  environment(values, revisions = {}) {
    this.values = values;
    this.revisions = revisions;
    for (const connection of this.connections) this.#sendEnvironment(connection);
  }

  #sendEnvironment(connection) {
    connection.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'env', params: { values: this.values, revisions: this.revisions } })}\n`);
  }

  asked(method = 'resolve') {
    return this.requests.filter((each) => each.method === method).length;
  }

  async stop() {
    for (const connection of this.connections) connection.destroy();
    await new Promise((resolve) => { this.server.close(resolve); });
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

/** An active credential. */
export function active(accessToken, more = {}) {
  return {
    status: 'active', reason: 'Active', accessToken, expiresAt: new Date(Date.now() + 3_600_000).toISOString(), revision: 1,
    grant: 'g1', authorizeURL: 'https://portal/warehouse', fallback: 'ServiceAccount', ...more,
  };
}

/** The warehouse: which tokens it lets in, and what was done as whom. */
export class FakeWarehouse {
  constructor() {
    this.valid = new Map();
    this.drivers = [];
    this.logins = 0;
    this.refused = 0;
  }

  user(token) {
    this.logins += 1;
    const user = this.valid.get(token);
    if (user) return user;
    this.refused += 1;
    throw Object.assign(new Error(`password authentication failed (${token})`), { code: '28P01' });
  }
}

/** A driver with a pool of one connection that behaves as generic-pool does: a refused log-in is tried again for ever. */
export class PooledDriver {
  constructor(warehouse, config) {
    this.warehouse = warehouse;
    this.config = config;
    this.running = 0;
    this.released = false;
    this.connection = null;
    this.creating = null;
    const factory = { create: async () => ({ user: await warehouse.user(config.password) }) };
    this.pool = { _factory: factory };
    warehouse.drivers.push(this);
  }

  databasePoolError() {}

  readOnly() { return true; }

  setLogger() {}

  async testConnection() { await this.pool._factory.create(); }

  async #acquire() {
    while (!this.connection && !this.released) {
      try {
        this.connection = await (this.creating ??= this.pool._factory.create().finally(() => { this.creating = null; }));
      } catch (error) {
        this.databasePoolError(error);
        await new Promise((resolve) => { setImmediate(resolve); });
      }
    }
    if (this.released) throw new Error('pool is draining');
    return this.connection;
  }

  // no async function, like the drivers of Presto and Trino
  query(sql, values, until) {
    return this.#run(until).then((user) => [{ sql, user }]);
  }

  createTable() { return this.#run(); }

  async #run(until) {
    this.running += 1;
    try {
      const { user } = await this.#acquire();
      if (!this.warehouse.valid.has(this.config.password)) throw Object.assign(new Error('token is invalid'), { code: '28000' });
      this.waits = Boolean(until);
      await until;
      if (this.releasedWhileRunning) throw new Error('released under a running query');
      return user;
    } finally {
      this.running -= 1;
    }
  }

  async release() {
    this.releasedWhileRunning = this.running > 0;
    this.released = true;
  }
}

/** The parts of Cube's core that the hook patches; `resolveDriver` is Cube 1.7.43's. */
export function fakeCore(warehouse) {
  return class CubejsServerCore {
    constructor(config) {
      this.options = { ...config, driverFactory: async (context) => config.driverFactory(context) };
      this.logger = () => {};
      this.drivers = new Map();
    }

    async initApp() {}

    async resolveDriver(context) {
      const { type: _type, ...options } = await this.options.driverFactory(context);
      if (options.fails) throw new Error(`cannot connect with ${JSON.stringify(options)}`);
      return new PooledDriver(warehouse, options);
    }

    // Cube keeps one driver for each orchestrator and data source, made with the first context
    async driverFor(context, dataSource = 'default') {
      const key = `${await this.options.contextToOrchestratorId(context)} ${dataSource}`;
      if (!this.drivers.has(key)) this.drivers.set(key, this.#make({ ...context, dataSource }, key));
      return this.drivers.get(key);
    }

    async #make(context, key) {
      try {
        const driver = await this.resolveDriver(context, {});
        driver.setLogger(this.logger);
        await driver.testConnection();
        return driver;
      } catch (error) {
        this.drivers.delete(key);
        throw error;
      }
    }
  };
}

export const wait = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

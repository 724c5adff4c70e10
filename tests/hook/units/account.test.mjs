// The service account, whose values rotate in the running process.
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';

import { PooledDriver, fakeCore, wait } from '../fakes.mjs';
import { DOCUMENTED, begun, config, contextOf, core, driver, heard, hook, lines, people, resolver, start, warehouse, who } from '../harness.mjs';

describe('the service account', () => {
  let account;
  const env = {};
  const FIRST = 'first-service-token';
  const NAMES = ['SA_TOKEN', 'SA_USER'];

  // the documented configuration reads the environment each time
  const READING = { ...DOCUMENTED, driverFactory: (context) => ({ ...DOCUMENTED.driverFactory(context), ...(context.securityContext?.cubeCloud?.userCredentials?.warehouse?.status === 'active' ? {} : { password: env.SA_TOKEN }) }) };

  beforeEach(() => {
    for (const name of Object.keys(env)) delete env[name];
    Object.assign(env, { SA_TOKEN: FIRST, SA_USER: 'cube' });
    warehouse.valid.clear();
    warehouse.valid.set(FIRST, 'service');
  });

  function begin(own = READING, names = NAMES, Core = undefined) {
    const log = new hook.Log((line) => lines.push(JSON.parse(line)));
    account = new hook.Account(names, people.socket, log, env);
    start(own, {}, { log, account }, Core);
    account.follow();
  }
  const query = (...args) => who(null, ...args);
  async function renew(token, { keep = false, user = 'service' } = {}) {
    if (!keep) warehouse.valid.clear();
    warehouse.valid.set(token, user);
    resolver.environment({ SA_TOKEN: token });
    await heard();
  }
  const told = () => lines.filter((l) => l.message.startsWith('the service account'));

  it('rotates in the environment of the running process, and in the driver that Cube holds', async () => {
    begin();
    const before = await driver();
    assert.equal(await query(), 'service');
    await renew('second-service-token');
    assert.equal(env.SA_TOKEN, 'second-service-token');
    assert.equal(await query(), 'service');
    assert.equal(await driver(), before);
    await wait(5);
    assert.deepEqual(warehouse.drivers.map((d) => [d.config.password, d.released]), [[FIRST, true], ['second-service-token', false]]);
    assert.equal(warehouse.refused, 0);
  });

  it('lets what runs end on the driver it began with', async () => {
    begin();
    await query();
    const [running, end] = await begun(null);
    await renew('second-service-token', { keep: true });
    assert.equal(await query(), 'service');
    assert.deepEqual(warehouse.drivers.map((d) => d.released), [false, false]);
    end();
    assert.equal(await running, 'service');
    await wait(5);
    assert.deepEqual(warehouse.drivers.map((d) => [d.released, d.releasedWhileRunning]), [[true, false], [false, undefined]]);
  });

  it('rotates under load without a failed query, also for whoever has no connection of their own', { timeout: 60_000 }, async () => {
    begin();
    const done = { over: false, queries: 0 };
    const work = async (username) => {
      while (!done.over) {
        assert.equal((await (await driver(username)).query('select 1', [], wait(1)))[0].user, 'service');
        done.queries += 1;
      }
    };
    const workers = [undefined, 'carol', undefined, 'dave'].flatMap((name) => [work(name), work(name)]);
    for (let i = 0; i < 20; i++) {
      await wait(10);
      await renew(`service-token-${i}`, { keep: true });
      warehouse.valid.delete(`service-token-${i - 2}`); // a token is replaced while there is a quarter of its life left
    }
    done.over = true;
    await Promise.all(workers);
    assert.ok(done.queries > 100, String(done.queries));
    await wait(20);
    assert.equal(warehouse.drivers.filter((d) => !d.released).length, 3); // one for each orchestrator
  });

  it('is heard of without a question: at once when connected, again after the resolver was away', { timeout: 60_000 }, async () => {
    begin();
    while (!resolver.connections.size) await wait(5);
    assert.equal(resolver.asked(), 0);
    resolver.environment({ SA_TOKEN: 'second-service-token' });
    while (env.SA_TOKEN === FIRST) await wait(5);
    resolver.values = { SA_TOKEN: 'third-service-token' };
    for (const connection of resolver.connections) connection.destroy();
    while (env.SA_TOKEN !== 'third-service-token') await wait(5);
  });

  it('takes only what injection set, only text, and what it knows already is no news', async () => {
    begin();
    for (const values of [{ NODE_OPTIONS: '--inspect', PATH: '/x' }, { SA_TOKEN: 7 }, { SA_TOKEN: FIRST }, null, 'text']) {
      resolver.environment(values);
      await heard();
    }
    assert.deepEqual(env, { SA_TOKEN: FIRST, SA_USER: 'cube' });
    assert.deepEqual(told(), []);
  });

  it('is gone from the environment when it was withdrawn, whatever connections there were, and said', async () => {
    begin();
    assert.equal(await query(), 'service');
    resolver.environment({ SA_TOKEN: null });
    await heard();
    assert.equal('SA_TOKEN' in env, false);
    await assert.rejects(query(), /authentication failed/);
    assert.deepEqual(told().map((l) => [l.level, l.reason, l.variables]), [['warning', 'ServiceAccountWithdrawn', ['SA_TOKEN']]]);
    await renew('second-service-token');
    assert.equal(await query(), 'service');
  });

  it('serves on with what it has, when the warehouse does not let the newer value in', async () => {
    begin();
    assert.equal(await query(), 'service');
    resolver.environment({ SA_TOKEN: 'mistyped-service-token' });
    await heard();
    assert.deepEqual([await query(), await query()], ['service', 'service']);
    assert.equal(warehouse.refused, 1);
    await renew('second-service-token');
    assert.equal(await query(), 'service');
    assert.equal(warehouse.drivers.at(-1).config.password, 'second-service-token');
  });

  it('is renewed where the configuration kept the value of the start, as os.environ does', async () => {
    const kept = env.SA_TOKEN;
    begin({ driverFactory: () => ({ type: 'fake', password: `${kept}`, extra: [{ header: `Bearer ${kept}` }], user: 'cube' }) });
    assert.equal(await query(), 'service');
    await renew('second-service-token');
    resolver.environment({ SA_USER: 'other' });
    await heard();
    assert.equal(await query(), 'service');
    assert.deepEqual(warehouse.drivers.at(-1).config, { password: 'second-service-token', extra: [{ header: 'Bearer second-service-token' }], user: 'cube' });
  });

  it('is fetched anew once when the warehouse refuses it before its end, and reads are asked again', { timeout: 60_000 }, async () => {
    begin();
    resolver.environment({ SA_TOKEN: FIRST }, { SA_TOKEN: 7 });
    await heard();
    assert.equal(await query(), 'service');
    warehouse.valid.clear();
    warehouse.valid.set('second-service-token', 'service');
    resolver.onInvalidateAccount = async () => { await wait(20); resolver.environment({ SA_TOKEN: 'second-service-token' }, { SA_TOKEN: 8 }); };
    const queries = [undefined, undefined, 'carol'].map(async (username) => (await (await driver(username)).query('select 1'))[0].user);
    assert.deepEqual(await Promise.all(queries), ['service', 'service', 'service']);
    const asked = resolver.requests.filter(({ method }) => method === 'invalidateAccount').map(({ params }) => params);
    assert.deepEqual(asked, [{ variable: 'SA_TOKEN', revision: 7 }]);
  });

  it('is not logged in with again and again while no other token comes', { timeout: 60_000 }, async () => {
    begin();
    resolver.environment({ SA_TOKEN: FIRST }, { SA_TOKEN: 7 });
    await heard();
    await query();
    warehouse.valid.clear();
    for (let i = 0; i < 20; i++) await assert.rejects(query(), /token is invalid|authentication failed/);
    assert.equal(resolver.asked('invalidateAccount'), 1);
    assert.equal(warehouse.refused, 0, 'the refused connection was the last attempt');
  });

  it('is reported to nobody where the operator cannot fetch another one', async () => {
    begin();
    await query();
    resolver.environment({ SA_TOKEN: FIRST });
    warehouse.valid.clear();
    await heard();
    await assert.rejects(query(), /token is invalid|authentication failed/);
    assert.equal(resolver.asked('invalidateAccount'), 0);
  });

  it('exchanges the drivers of the data sources that it is for, and of no other', async () => {
    Object.assign(env, { CUBEJS_DS_A_DB_PASS: 'first-password-of-a', CUBEJS_DS_B_DB_PASS: 'first-password-of-b', CUBEJS_DB_PASS: 'first-password' });
    // what is another data source's by its name, and is written into the configuration all the same
    const written = ({ dataSource }) => ({ type: 'fake', dataSource, password: FIRST, ...(dataSource === 'c' && { other: env.CUBEJS_DS_B_DB_PASS }) });
    begin({ driverFactory: written }, ['CUBEJS_DS_A_DB_PASS', 'CUBEJS_DS_B_DB_PASS', 'CUBEJS_DB_PASS']);
    const context = await contextOf(config, {});
    const drivers = {};
    for (const name of ['default', 'a', 'b', 'c']) drivers[name] = await core.driverFor(context, name);
    const exchangedBy = async (changed) => {
      const before = warehouse.drivers.length;
      resolver.environment({ ...resolver.values, ...changed });
      await heard();
      for (const one of Object.values(drivers)) await one.query('select 1');
      return warehouse.drivers.slice(before).map((each) => each.config.dataSource);
    };
    assert.deepEqual(await exchangedBy({ CUBEJS_DS_A_DB_PASS: 'second-password-of-a' }), ['a']);
    assert.deepEqual(await exchangedBy({ CUBEJS_DS_B_DB_PASS: 'second-password-of-b' }), ['b', 'c']);
    assert.deepEqual(await exchangedBy({ CUBEJS_DB_PASS: 'second-password' }), ['default', 'a', 'b', 'c']);
  });

  it("is tested by Cube's probes each time, unlike a person's driver", async () => {
    begin();
    const mine = await driver();
    warehouse.valid.clear();
    await assert.rejects(mine.testConnection(), /authentication failed/);
  });

  it('is in no line of the log, and taken out of what drivers say', async () => {
    begin({ driverFactory: () => ({ type: 'fake', password: env.SA_TOKEN, fails: env.SA_TOKEN !== FIRST }) });
    await driver();
    resolver.environment({ SA_TOKEN: 'second-service-token' });
    await heard();
    warehouse.valid.clear();
    await assert.rejects(new hook.LiveDriver({ plan: async () => { throw hook.redacted(new Error(`no ${env.SA_TOKEN} of cube`), account.known()); } }, { caller: { username: '' }, credentials: account.known() }, account).start(), { message: 'no [token] of cube' });
    await query().catch((error) => assert.ok(!error.message.includes('service-token'), error.message));
    assert.ok(told().length);
    assert.ok(!JSON.stringify(lines).includes('service-token'));
  });

  it('never exchanges a driver that driverFactory always gives anew', async () => {
    const [Core, only] = [fakeCore(warehouse), new PooledDriver(warehouse, { password: FIRST })];
    Core.prototype.resolveDriver = async () => only;
    begin(READING, NAMES, Core);
    assert.equal(await query(), 'service');
    await renew('second-service-token', { keep: true });
    assert.equal(await query(), 'service');
    await wait(5);
    assert.equal(only.released, false);
  });

  it('leaves drivers as they are where nothing can rotate', async () => {
    begin(READING, []);
    assert.ok((await driver()) instanceof PooledDriver);
    assert.equal(await driver(), warehouse.drivers[0]);
    await wait(20);
    assert.equal(resolver.connections.size, 1); // the question about whoever is not named
  });
});

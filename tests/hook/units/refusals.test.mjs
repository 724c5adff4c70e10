// What a refused log-in looks like, and what a live driver does about it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, it } from 'node:test';
import util from 'node:util';

import { PooledDriver, wait } from '../fakes.mjs';
import { DOCUMENTED, begun, driver, heard, hook, people, resolver, rotate, signIn, start, warehouse, who } from '../harness.mjs';

describe('the signs of a refused log-in', () => {
  const recorded = JSON.parse(fs.readFileSync(new URL('../refusals.json', import.meta.url)));
  const errorOf = ({ message, cause, ...more }) => Object.assign(new Error(message, cause && { cause: errorOf(cause) }), more);

  for (const { type, what, error } of recorded.failures) it(`${type}: ${what}`, () => assert.ok(hook.isCertainRefusal(errorOf(error), type)));
  for (const { type, what, error } of recorded['no refusals']) it(`is none, ${type}: ${what}`, () => assert.ok(!hook.isRefusal(errorOf(error), type)));

  it('are known for each driver by a failure of its own', () => {
    const shown = new Set(recorded.failures.map(({ type }) => type));
    assert.deepEqual(Object.keys(hook.SIGNS_BY_TYPE).filter((type) => !shown.has(type)), ['prestodb']); // Trino's client
  });

  it('all count for a driver that says no type', () => {
    assert.ok(hook.isRefusal(Object.assign(new Error('x'), { code: '390303' })));
    assert.ok(!hook.isRefusal(new Error('x')));
  });

  it('may be words, which a statement may have too', () => {
    const error = new Error('unauthorized to see this table');
    assert.deepEqual([hook.isRefusal(error), hook.isCertainRefusal(error)], [true, false]);
  });
});

describe('a live driver', () => {
  it('retries a read once a refresh was forced', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    warehouse.valid.delete('a1');
    resolver.onInvalidate = () => signIn('alice', 'a2', { revision: 2 });
    assert.equal(await who('alice'), 'alice');
    assert.deepEqual(resolver.requests.at(-1), { method: 'invalidate', params: { caller: { username: 'alice', assertion: null }, dataSource: 'warehouse', revision: 1 } });
    assert.equal(resolver.asked('invalidate'), 1);
  });

  it('asks a read again as often as its token rotates during the log-in', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    await rotate('alice', 'a2', { revision: 2 });
    const letIn = warehouse.user.bind(warehouse);
    let revision = 2;
    warehouse.user = async (token) => {
      if (revision < 10) await rotate('alice', `a${++revision}`, { revision });
      return letIn(token);
    };
    assert.equal(await who('alice'), 'alice');
    assert.deepEqual([revision, warehouse.refused, resolver.asked('invalidate')], [10, 8, 0]);
  });

  it('forces a refresh of a token that rotated during the log-in, too', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    await rotate('alice', 'a2', { revision: 2 });
    const letIn = warehouse.user.bind(warehouse);
    warehouse.user = async (token) => {
      if (token === 'a2') await rotate('alice', 'a3', { revision: 3 });
      if (token === 'a3') warehouse.valid.delete('a3');
      return letIn(token);
    };
    resolver.onInvalidate = () => signIn('alice', 'a4', { revision: 4 });
    assert.equal(await who('alice'), 'alice');
    assert.equal(resolver.asked('invalidate'), 1);
  });

  it('forces no refresh when the token rotated under the query', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    warehouse.drivers[0].query = async () => {
      await rotate('alice', 'a2', { revision: 2 });
      throw Object.assign(new Error('token is invalid'), { code: '28000' });
    };
    assert.equal((await mine.query('select 1'))[0].user, 'alice');
    assert.equal(resolver.asked('invalidate'), 0);
  });

  it('retries no write', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    warehouse.valid.delete('a1');
    resolver.onInvalidate = () => signIn('alice', 'a2', { revision: 2 });
    await assert.rejects((await driver('alice')).createTable(), /token is invalid/);
    assert.equal(resolver.asked('invalidate'), 0);
  });

  it('retries a statement only when it reads', async () => {
    start();
    for (const [statement, again] of [['(SELECT 1)', true], ['/* who */ with x as (select 1) select * from x', true], ['-- y\nshow tables', true],
      ['INSERT INTO t SELECT 1', false], ['CREATE TABLE t AS SELECT 1', false], ['CALL f()', false],
      ['WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x', false], ['SELECT * INTO u FROM t', false]]) {
      signIn('alice', 'a1');
      people.forget();
      const mine = await driver('alice');
      await mine.query('select 1');
      warehouse.valid.delete('a1');
      resolver.onInvalidate = () => signIn('alice', 'a2', { revision: 2 });
      const [asked, outcome] = [resolver.asked('invalidate'), await mine.query(statement).then(() => true, () => false)];
      assert.deepEqual([outcome, resolver.asked('invalidate') - asked], [again, again ? 1 : 0], statement);
      warehouse.valid.delete('a2');
    }
  });

  it('forces one refresh for one query, also when the sign is mistaken', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    let revision = 1;
    resolver.onInvalidate = () => { revision += 1; signIn('alice', `a${revision}`, { revision }); };
    const asked = [];
    const { query } = PooledDriver.prototype;
    PooledDriver.prototype.query = async function refusing() { asked.push(this.config.password); throw new Error('unauthorized to see this table'); };
    try { await assert.rejects(mine.query('select 1'), /unauthorized/); } finally { PooledDriver.prototype.query = query; }
    assert.deepEqual([asked, resolver.asked('invalidate')], [['a1', 'a2'], 1]);
    assert.equal(await who('alice'), 'alice'); // and is held against nobody
  });

  it('lets a query end on an open connection when others are refused a log-in', async () => {
    start();
    signIn('alice', 'a1');
    const [running, end] = await begun();
    warehouse.drivers[0].databasePoolError(Object.assign(new Error('authentication failed'), { code: '28P01' }));
    await heard();
    end();
    assert.equal(await running, 'alice');
  });

  it('lets nobody wait for a pool that was refused', { timeout: 25_000 }, async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    warehouse.valid.delete('a1');
    let go;
    resolver.onInvalidate = () => new Promise((resolve) => { go = () => { signIn('alice', 'a2', { revision: 2 }); resolve(); }; });
    const first = mine.query('select 1');
    while (!go) await wait(5);
    const second = mine.query('select 1'); // the refresh is under way
    await wait(10);
    go();
    assert.deepEqual([(await first)[0].user, (await second)[0].user], ['alice', 'alice']);
  });

  it('starts no storm of log-ins with a refused token', async () => {
    start();
    signIn('alice', 'a1');
    await driver('alice');
    warehouse.valid.delete('a1'); // before a connection was opened
    const started = Date.now();
    const more = () => Math.floor((Date.now() - started) / 5_000); // it may be tried again after 5 s, which a busy machine may take
    await Promise.all(Array.from({ length: 20 }, () => assert.rejects(who('alice'), /authentication failed/)));
    await wait(100);
    assert.ok(warehouse.refused <= 3 + more(), `${warehouse.refused} refused log-ins`);
    for (let i = 0; i < 20; i++) await assert.rejects(who('alice'), /authentication failed/);
    assert.ok(warehouse.refused <= 4 + more(), `${warehouse.refused} refused log-ins`);
    assert.ok(Date.now() - started < 18_000); // nobody waits until a pool gives up
    await rotate('alice', 'a2');
    assert.equal(await who('alice'), 'alice');
  });

  it('says no token in its errors', async () => {
    start();
    signIn('alice', 'a-secret-token');
    await driver('alice');
    warehouse.valid.delete('a-secret-token');
    const error = await who('alice').catch((e) => e);
    assert.match(error.message, /authentication failed \(\[token\]\)/);
    assert.ok(!util.inspect(error).includes('a-secret-token'));
    const { query } = PooledDriver.prototype;
    PooledDriver.prototype.query = async function failing() { throw new Error('bad', { cause: new Error(`sent ${this.config.password}`) }); };
    signIn('dan', 'd-secret-token');
    const caused = await who('dan').catch((e) => e);
    PooledDriver.prototype.query = query;
    assert.equal(caused.cause.message, 'sent [token]');
    assert.ok(!util.inspect(caused).includes('d-secret-token'));
    start({ ...DOCUMENTED, driverFactory: (context) => ({ ...DOCUMENTED.driverFactory(context), fails: true }) });
    signIn('bob', 'b-secret-token');
    const failed = await driver('bob').catch((e) => e);
    assert.match(failed.stack, /cannot connect with .*\[token\]/);
    assert.ok(!util.inspect(failed).includes('b-secret-token'));
  });

  it('turns no probe red', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    warehouse.valid.delete('a1');
    await mine.testConnection();
  });
});

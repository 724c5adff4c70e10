// A live driver: the person whom it is for, through the rotations of their token and to the end of their sign-in.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import util from 'node:util';

import { wait } from '../fakes.mjs';
import { begun, driver, heard, missing, resolver, rotate, signIn, start, warehouse, who } from '../harness.mjs';

describe('a live driver', () => {
  it('is the person, or the service account', async () => {
    start();
    signIn('alice', 'a1');
    signIn('bob', 'b1');
    assert.deepEqual(await Promise.all([who('alice'), who('bob'), who('carol'), who(null)]), ['alice', 'bob', 'service', 'service']);
  });

  it('is exchanged when the token rotates: the same driver for Cube, the new one tested, the old one released', async () => {
    start();
    signIn('alice', 'a1');
    const before = await driver('alice');
    await who('alice');
    await rotate('alice', 'a2');
    assert.equal(await who('alice'), 'alice');
    assert.equal(await driver('alice'), before);
    await wait(5);
    assert.deepEqual(warehouse.drivers.map((d) => d.released), [true, false]);
    assert.equal(warehouse.refused, 0);
  });

  it('lets a running query end on the driver it began with', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    const [running, end] = await begun();
    signIn('alice', 'a2'); // the old token is still good
    resolver.changed('alice');
    await heard();
    assert.equal(await who('alice'), 'alice');
    assert.deepEqual(warehouse.drivers.map((d) => d.released), [false, false]);
    end();
    assert.equal(await running, 'alice');
    await wait(5);
    assert.deepEqual(warehouse.drivers.map((d) => [d.released, d.releasedWhileRunning]), [[true, false], [false, undefined]]);
  });

  it('keeps no connection of a sign-in that is over, though nobody asks for it any more', async () => {
    start();
    signIn('alice', 'a1');
    const [running, end] = await begun();
    resolver.sources.alice = { warehouse: missing({ status: 'revoked', reason: 'Suspended' }) };
    resolver.changed('alice');
    await heard();
    assert.equal(warehouse.drivers[0].released, false); // what runs ends first
    end();
    assert.equal(await running, 'alice');
    await wait(5);
    assert.deepEqual([warehouse.drivers.length, warehouse.drivers[0].released, warehouse.drivers[0].releasedWhileRunning], [1, true, false]);
  });

  it('keeps the connections of everybody else, and of a token that only rotated', async () => {
    start();
    signIn('alice', 'a1');
    signIn('bob', 'b1');
    await Promise.all([who('alice'), who('bob')]);
    signIn('alice', 'a2');
    resolver.changed('alice');
    await heard();
    assert.deepEqual(warehouse.drivers.map((d) => d.released), [false, false]);
  });

  it('keeps everybody apart under load with a rotation every few milliseconds', async () => {
    start();
    const users = Array.from({ length: 10 }, (_, i) => `user${i}`);
    for (const user of users) signIn(user, `${user}-0`);
    let [rotations, queries] = [0, 0];
    const rotating = (async () => {
      while (rotations < 60) { rotations += 1; await rotate(users[rotations % 10], `${users[rotations % 10]}-${rotations}`); }
    })();
    await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      while (rotations < 60) { queries += 1; assert.equal(await who(users[i % 10], wait(2)), users[i % 10]); }
    }));
    await rotating;
    assert.ok(queries > rotations, `${rotations} rotations, ${queries} queries`);
    await wait(20);
    assert.ok(warehouse.drivers.filter((d) => !d.released).length <= users.length);
    assert.ok(!warehouse.drivers.some((d) => d.releasedWhileRunning));
  });

  it('closes what is open when the credential ends, although nobody asks it again', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    resolver.sources.alice = { warehouse: { status: 'revoked', reason: 'Revoked', fallback: 'ServiceAccount' } };
    resolver.changed('alice');
    for (let i = 0; i < 200 && !warehouse.drivers[0].released; i++) await wait(5);
    assert.equal(warehouse.drivers[0].released, true);
  });

  it('keeps no connection that was being exchanged while the sign-in ended', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    await rotate('alice', 'a2');
    let go;
    const gate = new Promise((resolve) => { go = resolve; });
    const { user } = warehouse;
    warehouse.user = async (token) => { await gate; return user.call(warehouse, token); };
    const exchanging = who('alice').catch(() => {});
    await heard();
    resolver.sources.alice = { warehouse: { status: 'revoked', reason: 'Revoked', fallback: 'ServiceAccount' } };
    resolver.changed('alice');
    await heard();
    go();
    await exchanging;
    await wait(20);
    assert.deepEqual(warehouse.drivers.map((d) => d.released), [true, true]);
  });

  it('leaves what is open alone when the resolver goes away, or a token merely rotates', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    signIn('alice', 'a2');
    resolver.changed('alice');
    await heard();
    for (const connection of resolver.connections) connection.destroy();
    await wait(20);
    assert.equal(warehouse.drivers[0].released, false);
  });

  it('does not end the process when a session cannot be closed, as Snowflake\'s driver would', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    const [old] = warehouse.drivers;
    const closing = [];
    // release() of snowflake-driver 1.7.43
    old.connection = Promise.resolve({ destroy: (done) => { closing.push(1); done(new Error('the session is gone')); } });
    old.release = async () => { old.connection.then((connection) => new Promise((resolve, reject) => connection.destroy((error) => (error ? reject(error) : resolve())))); };
    const unhandled = [];
    const note = (error) => unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      await rotate('alice', 'a2');
      await who('alice');
      while (!closing.length) await wait(5);
      await wait(20);
    } finally { process.removeListener('unhandledRejection', note); }
    assert.deepEqual(unhandled, []);
  });

  it('shows no token when it is printed', async () => {
    start();
    signIn('alice', 'a-secret-token');
    const mine = await driver('alice');
    assert.ok(!util.inspect(mine, { depth: 9, showHidden: true, showProxy: true }).includes('a-secret-token'));
    assert.ok(!String(JSON.stringify(mine)).includes('a-secret-token'));
    assert.equal(mine.readOnly(), true);
    assert.ok('query' in mine && mine.constructor.name === 'PooledDriver');
  });

  it('serves nobody once the credential has ended, also not a query that waited', async () => {
    start();
    signIn('alice', 'a1');
    const waiting = await driver('alice');
    await who('alice');
    resolver.sources.alice = { warehouse: { status: 'revoked', reason: 'Revoked', fallback: 'ServiceAccount' } };
    resolver.changed('alice');
    await heard();
    await assert.rejects(waiting.query('select 1'), /credential of alice ended or was replaced/);
    assert.equal(await who('alice'), 'service');
    await wait(5);
    assert.equal(warehouse.drivers[0].released, true);
  });

  it('is opened again after Cube released it', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    await mine.release();
    await wait(5);
    assert.equal(warehouse.drivers[0].released, true);
    assert.equal((await mine.query('select 1'))[0].user, 'alice');
  });

  it('stays busy while a stream is read', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    const rows = Readable.from([1, 2]);
    let released = 0;
    warehouse.drivers[0].stream = async () => ({ rowStream: rows, release: async () => { released += 1; } });
    const stream = await mine.stream('x');
    await mine.release();
    await wait(5);
    assert.equal(warehouse.drivers[0].released, false);
    await stream.release();
    await wait(5);
    assert.deepEqual([warehouse.drivers[0].released, released], [true, 1]);
  });

  it('can be cancelled', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    let cancelled = false;
    warehouse.drivers[0].query = () => Object.assign(wait(50), { cancel: async () => { cancelled = true; } });
    const running = mine.query('x');
    await wait(10);
    await running.cancel();
    await running;
    assert.ok(cancelled);
  });
});

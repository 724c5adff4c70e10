// What the hook knows about people from the resolver, and when it forgets it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';

import { active, wait } from '../fakes.mjs';
import { HOOK, cloudOf, configure, contextOf, heard, hook, lines, people, resolver, restarted } from '../harness.mjs';

/** Holds the answers about alice back until the returned function is called. */
function holdAlice() {
  let go;
  resolver.holds = 'alice';
  resolver.hold = new Promise((resolve) => { go = resolve; });
  return () => { resolver.holds = null; go(); };
}

describe('what is known about a person', () => {
  const caller = { username: 'alice', assertion: null };

  it('is asked for once, however many want it', async () => {
    resolver.sources.alice = { warehouse: active('t') };
    await Promise.all(Array.from({ length: 50 }, () => people.of(caller)));
    await people.of(caller);
    assert.equal(resolver.asked(), 1);
  });

  it('is forgotten when it changed, and only that person', async () => {
    resolver.sources = { alice: { warehouse: active('t1') }, bob: { warehouse: active('b') } };
    const bob = { username: 'bob', assertion: null };
    await Promise.all([people.of(caller), people.of(bob)]);
    resolver.sources.alice = { warehouse: active('t2') };
    resolver.changed('alice');
    await heard();
    assert.equal((await people.of(caller)).sources.warehouse.accessToken, 't2');
    await people.of(bob);
    assert.equal(resolver.asked(), 4);
    resolver.changed();
    await heard();
    assert.equal(people.known(bob), null);
  });

  it('is not kept when it changed while the answer was on its way', async () => {
    resolver.sources.alice = { warehouse: active('old') };
    const release = holdAlice();
    const first = people.of(caller);
    await heard();
    resolver.sources.alice = { warehouse: active('new') };
    resolver.changed('alice');
    await heard();
    const second = people.of(caller);
    await heard();
    release();
    assert.equal((await first).sources.warehouse.accessToken, 'old');
    assert.equal((await second).sources.warehouse.accessToken, 'new');
    assert.equal(people.known(caller).sources.warehouse.accessToken, 'new');
  });

  it('is not kept when it changed before the answer came, and nobody else asked', async () => {
    const release = holdAlice();
    const asking = people.of(caller);
    await heard();
    resolver.changed('alice');
    await heard();
    release();
    await asking;
    assert.equal(people.known(caller), null);
  });

  it('is not kept when it changed after a refused token was answered for, and both are read at once', async () => {
    await people.of(caller);
    resolver.sources.alice = { warehouse: active('t2', { revision: 2 }) };
    const [connection] = resolver.connections;
    resolver.onInvalidate = () => {
      connection.cork();
      setImmediate(() => { resolver.changed('alice'); connection.uncork(); });
    };
    assert.equal((await people.refused(caller, 'warehouse', 1)).sources.warehouse.accessToken, 't2');
    assert.equal(people.known(caller), null);
  });

  it('is forgotten with the connection, which is made anew', { timeout: 60_000 }, async () => {
    resolver.sources.alice = { warehouse: active('t1') };
    await people.of(caller);
    for (const connection of resolver.connections) connection.destroy();
    while (people.known(caller)) await wait(5);
    assert.equal((await people.of(caller)).sources.warehouse.accessToken, 't1');
  });

  it('survives a connection that breaks under a request', async () => {
    resolver.sources.alice = { warehouse: active('t1') };
    const release = holdAlice();
    const answer = people.of(caller);
    await heard();
    for (const connection of resolver.connections) connection.destroy();
    release();
    assert.equal((await answer).sources.warehouse.accessToken, 't1');
  });

  it('is taken from an answer that is there when its time is over and was not read yet: the process was busy', async () => {
    await people.of(caller); // the connection is there
    resolver.sources.alice = { get warehouse() { for (const began = Date.now(); Date.now() - began < 100;); return active('t1'); } };
    assert.equal((await people.socket.request('resolve', { caller }, 50)).credentials.warehouse.accessToken, 't1');
  });

  it('is used once when the resolver could not ask whether it is still so', async () => {
    resolver.sources.alice = { warehouse: active('t1') };
    resolver.stale = true;
    assert.equal((await people.of(caller)).sources.warehouse.accessToken, 't1');
    assert.equal(people.known(caller), null);
    resolver.stale = false;
    await people.of(caller);
    assert.ok(people.known(caller));
  });

  it('never holds a token that has ended', async () => {
    let now = Date.now();
    restarted({ now: () => now });
    resolver.sources.alice = { warehouse: active('t1', { expiresAt: new Date(now + 1_000).toISOString() }) };
    assert.equal((await people.of(caller)).sources.warehouse.accessToken, 't1');
    now += 1_001;
    assert.equal(people.known(caller), null);
    const again = await people.of(caller); // the resolver is mistaken, and says it once more
    assert.equal(again.sources.warehouse.status, 'expired');
    assert.equal(again.sources.warehouse.accessToken, undefined);
    assert.equal(again.eyes, '');
    resolver.sources.alice.warehouse.expiresAt = 'nonsense';
    people.forget();
    assert.equal((await people.of(caller)).sources.warehouse.status, 'expired');
  });

  it('is about this issuer, not about somebody of that name elsewhere', async () => {
    await people.of({ ...caller, issuer: 'https://a' });
    assert.equal(people.known({ ...caller, issuer: 'https://b' }), null);
    await people.of({ ...caller, issuer: 'https://b' });
    assert.deepEqual(resolver.requests.map((r) => r.params.caller.issuer), ['https://a', 'https://b']);
  });

  it('is bounded', async () => {
    restarted({ max: 10 });
    for (let i = 0; i < 25; i++) await people.of({ username: `u${i}`, assertion: null });
    assert.equal(people.known({ username: 'u14', assertion: null }), null);
    assert.ok(people.known({ username: 'u15', assertion: null }));
  });

  it('ends in a clear error when the resolver is away, and when it refuses', async () => {
    const lost = new hook.People('/nonexistent/resolver.sock');
    const started = Date.now();
    await assert.rejects(lost.of(caller), { reason: 'BrokerUnreachable', message: /cannot be read now \(BrokerUnreachable: ENOENT\). Try again/ });
    assert.ok(Date.now() - started < 10_000); // asked for 3 s; a busy machine adds its own
    resolver.sources.alice = { error: { code: -32001, message: 'not yours', data: { reason: 'Forbidden' } } };
    await assert.rejects(people.of(caller), { reason: 'Forbidden', message: /Forbidden: not yours/ });
  });

  it('fails the request of a person, and of nobody else', async () => {
    resolver.sources.alice = { error: { code: -32000, message: 'broker away', data: { reason: 'BrokerUnreachable' } } };
    const config = configure();
    await assert.rejects(contextOf(config, { username: 'alice' }), /BrokerUnreachable: broker away/);
    assert.equal(await cloudOf(config, {}), undefined);
    assert.deepEqual(lines.filter((l) => l.reason).map(({ reason, username }) => [reason, username]), [['BrokerUnreachable', 'alice'], ['NoCallerIdentity', undefined]]);
  });

  it('is right about names beyond ASCII', async () => {
    resolver.sources['José'] = { warehouse: active('t') };
    assert.equal((await people.of({ username: 'José', assertion: null })).sources.warehouse.accessToken, 't');
  });

  it('does not mind lines in pieces, and drops a resolver that talks nonsense', { timeout: 60_000 }, async () => {
    await people.of(caller);
    for (const connection of resolver.connections) {
      connection.write('{"jsonrpc": "2.0", "method": "chan');
      connection.write('ged", "params": {"username": "alice"}}\n');
    }
    await heard();
    assert.equal(people.known(caller), null);
    await people.of(caller);
    for (const connection of resolver.connections) connection.write('nonsense\n');
    while (resolver.connections.size) await wait(5);
    assert.equal(people.known(caller), null);
  });

  it('keeps no process alive', () => {
    const script = `const {People} = require(${JSON.stringify(HOOK.replace('.cjs', '/people.cjs'))});
      new People(${JSON.stringify(resolver.path)}).of({username: 'alice', assertion: null});`;
    execFileSync(process.execPath, ['-e', script], { timeout: 60_000 });
  });
});

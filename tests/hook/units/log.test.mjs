// What the hook says in its log, and what it counts.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { wait } from '../fakes.mjs';
import { configure, contextOf, hook, lines, people, resolver } from '../harness.mjs';

describe('the log', () => {
  it('says a decision once a minute, a new reason at once, and never a token', () => {
    let now = 0;
    const log = new hook.Log((line) => lines.push(JSON.parse(line)), undefined, () => now);
    for (let i = 0; i < 100; i++) log.decided('Active', { username: 'alice', dataSource: 'w', requestID: `r${i}` });
    log.decided('Expired', { username: 'alice', dataSource: 'w' });
    now = 61_000;
    log.decided('Expired', { username: 'alice', dataSource: 'w' });
    log.decided('Expired', { username: 'alice', dataSource: 'w' });
    assert.deepEqual(lines.map((l) => [l.reason, l.repeated]), [['Active', undefined], ['Expired', 99], ['Expired', undefined]]);
    assert.deepEqual(Object.keys(lines[0]), ['time', 'level', 'logger', 'message', 'reason', 'username', 'dataSource', 'requestID']);
  });

  it("names Cube's own request id, and makes the one that Cube would have made", async () => {
    const config = configure();
    await contextOf(config, { username: 'alice' }, { headers: { 'x-request-id': 'r-1' } });
    assert.equal(lines.at(-1).requestID, 'r-1');
    const context = await contextOf(config, { username: 'bob' });
    assert.equal(lines.at(-1).requestID, context.requestId);
    await contextOf(config, { username: 'sql' }, { id: 'sql-7', meta: {} });
    assert.equal(lines.at(-1).requestID, 'sql-7');
    assert.equal(resolver.requests[0].params.requestID, 'r-1');
  });
});

describe('the counts', () => {
  it('tell the resolver of every decision and of what happened to drivers', async () => {
    const counting = () => Object.fromEntries(['decisions', 'drivers'].map((kind) => {
      const all = resolver.counts.flatMap((counts) => Object.entries(counts[kind] ?? {}));
      return [kind, all.reduce((sum, [what, times]) => ({ ...sum, [what]: (sum[what] ?? 0) + times }), {})];
    }));
    const log = new hook.Log(() => {}, (reason) => people.socket.count('decisions', reason));
    for (let i = 0; i < 3; i++) log.decided('Active', { username: 'alice', dataSource: 'warehouse' });
    people.socket.count('drivers', 'opened');
    while (!resolver.counts.length) await wait(20);
    log.decided('Expired', { username: 'alice', dataSource: 'warehouse' });
    while (resolver.counts.length < 2) await wait(20);
    assert.deepEqual(counting(), { decisions: { Active: 3, Expired: 1 }, drivers: { opened: 1 } });
  });
});

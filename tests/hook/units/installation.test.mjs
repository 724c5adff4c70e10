// What the hook does when it is loaded: it patches the Cube that it knows, and leaves every other process alone.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';

import { FakeWarehouse, fakeCore } from '../fakes.mjs';
import { DOCUMENTED, HOOK, SETTINGS, configure, hook, lines, people } from '../harness.mjs';

describe('installation', () => {
  const given = () => ({ people, settings: SETTINGS, log: new hook.Log(() => {}) });

  it('refuses a Cube whose internals it does not know, and a second hook', () => {
    const file = '/node_modules/@cubejs-backend/server/dist/src/server/container.js';
    class ServerContainer { async lookupConfiguration() { return {}; } }
    assert.throws(() => hook.patch(file, { ServerContainer: class {} }, given()), /no ServerContainer#lookupConfiguration/);
    assert.throws(() => hook.patch(file, {}, given()), /no ServerContainer/);
    hook.patch(file, { ServerContainer }, given());
    assert.throws(() => hook.patch(file, { ServerContainer }, given()), /two hooks/);
    hook.patch('/somewhere/else.js', {}, given());
  });

  it('refuses to serve what was never wrapped', async () => {
    const Core = fakeCore(new FakeWarehouse());
    hook.patch('/x/@cubejs-backend/server-core/dist/src/core/server.js', { CubejsServerCore: Core }, given());
    const before = process.env.NODE_ENV;
    process.env.NODE_ENV = 'production';
    try {
      await assert.rejects(new Core(DOCUMENTED).initApp(), /not started by the command/);
      await new Core(configure()).initApp();
    } finally {
      process.env.NODE_ENV = before;
    }
  });

  it('believes what Cube verified, not what a WebSocket message says about its sender', async () => {
    class ApiGateway { async contextByReq(request, securityContext) { return [request.securityContext, securityContext]; } }
    hook.patch('/x/@cubejs-backend/api-gateway/dist/src/gateway.js', { ApiGateway }, given());
    const verified = { username: 'alice' };
    const seen = await new ApiGateway().contextByReq({ messageId: 1, securityContext: { username: 'bob' } }, verified, 'r');
    assert.deepEqual(seen, [verified, verified]);
  });

  it('says which version of Cube it met, louder when our tests never ran with it', () => {
    const counted = [];
    const log = new hook.Log((line) => lines.push(JSON.parse(line)), (reason) => counted.push(reason));
    for (const version of ['1.7.43', '1.8.0', 'unknown']) hook.tellVersion(log, version);
    assert.deepEqual(lines.map(({ level, cube }) => [level, cube]), [['info', '1.7.43'], ['warning', '1.8.0'], ['warning', 'unknown']]);
    assert.deepEqual(counted, ['UntestedVersion', 'UntestedVersion']);
  });

  it('knows which process is meant to be Cube', () => {
    const yes = [['node', '/cube/node_modules/@cubejs-backend/server/bin/server'], ['node', '/usr/local/bin/cubejs', 'server'], ['node', '/cube/node_modules/.bin/cubejs-server']];
    const no = [['node', '/usr/bin/npm', 'install'], ['node', '/usr/local/bin/cubejs', 'token'], ['node'], ['node', '/app/health.js']];
    assert.deepEqual(yes.map(hook.looksLikeCube), [true, true, true]);
    assert.deepEqual(no.map(hook.looksLikeCube), [false, false, false, false]);
  });

  it('is silent and harmless in every other process, its workers and its children', () => {
    const script = `const {Worker} = require('worker_threads'); require('fs'); new Worker('require("path")', {eval: true}).on('exit', () => console.log('done'));`;
    const env = { PATH: process.env.PATH, NODE_OPTIONS: `--require=${HOOK}` };
    assert.equal(execFileSync(process.execPath, ['-e', script], { env, encoding: 'utf8', timeout: 60_000 }), 'done\n');
  });
});

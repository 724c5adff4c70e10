// Who the caller is, and what the security context and the orchestrator are for them.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import util from 'node:util';

import { active } from '../fakes.mjs';
import { DOCUMENTED, cloudOf, configure, contextOf, hook, lines, missing, people, resolver, restarted } from '../harness.mjs';

describe('the security context', () => {
  it('has the documented shape, and a token that is read but never serialised', async () => {
    resolver.sources.alice = { warehouse: active('secret-token', { subject: 'ALICE' }), other: missing() };
    const context = await contextOf(configure(), { username: 'alice', region: 'eu' });
    const { cubeCloud, region } = context.securityContext;
    assert.equal(region, 'eu');
    assert.equal(cubeCloud.username, 'alice');
    assert.equal(cubeCloud.userCredentials.warehouse.accessToken, 'secret-token');
    assert.deepEqual(Object.keys(cubeCloud.userCredentials.warehouse), ['status', 'expiresAt', 'subject', 'revision', 'grant']);
    assert.deepEqual({ ...cubeCloud.userCredentials.other }, { status: 'missing' });
    for (const text of [JSON.stringify(context), util.inspect(context, { depth: 9 }), JSON.stringify(structuredClone(context))]) {
      assert.ok(!text.includes('secret-token'), text);
    }
    assert.equal(context.authInfo, context.securityContext);
  });

  it('gives driverFactory a copy in which the token is an ordinary property', async () => {
    resolver.sources.alice = { warehouse: active('secret-token') };
    let seen;
    const config = configure({ driverFactory: (context) => { seen = JSON.stringify(context); return { type: 'x' }; } });
    config.driverFactory({ ...(await contextOf(config, { username: 'alice' })), dataSource: 'default' });
    assert.ok(seen.includes('secret-token'));
  });

  it('drops a cubeCloud claim of the caller, in whatever form, and keeps its other keys', async () => {
    resolver.sources.alice = { warehouse: missing() };
    const forged = { username: 'bob', userCredentials: { warehouse: { status: 'active', accessToken: 'forged' } } };
    const config = configure();
    assert.equal((await cloudOf(config, { username: 'alice', cubeCloud: { groups: ['a'] } })).groups[0], 'a');
    assert.ok(!lines.some((l) => l.reason === 'ForgedCredentials'));
    const cloud = await cloudOf(config, { username: 'alice', cubeCloud: { ...forged, groups: ['a'] } });
    assert.equal(cloud.username, 'alice');
    assert.equal(cloud.userCredentials.warehouse.status, 'missing');
    assert.deepEqual(cloud.groups, ['a']);
    assert.equal(await cloudOf(config, { cubeCloud: forged }), undefined);
    assert.equal(await cloudOf(config, { cubeCloud: 'text' }), undefined);
    assert.equal(await cloudOf(config, undefined), undefined);
    assert.equal(await cloudOf(config, { username: 'alice', cubeCloud: [forged] }).then((c) => c.username), 'alice');
    const said = lines.filter((l) => l.reason === 'ForgedCredentials').map(({ level, username }) => [level, username]);
    assert.deepEqual(said, [['warning', 'alice'], ['warning', undefined]]);
  });

  it('gives no forged credential to driverFactory, not even from a context that never was a request', async () => {
    const forged = { cubeCloud: { username: 'bob', userCredentials: { warehouse: { status: 'active', accessToken: 'forged' } } } };
    assert.equal(configure().driverFactory({ securityContext: forged }).password, 'service-token');
  });

  it('lets requests that waited for one answer go on one after another', async () => {
    const config = configure();
    const steps = [];
    await Promise.all(Array.from({ length: 10 }, async () => {
      await contextOf(config, { username: 'alice' });
      steps.push('begins');
      for (let i = 0; i < 20; i++) await null; // what Cube does before the first compiled model is stored
      steps.push('ends');
    }));
    assert.deepEqual(steps, Array.from({ length: 10 }, () => ['begins', 'ends']).flat());
  });

  it("calls the configuration's own extendContext first, without the forged claim, and merges its answer", async () => {
    resolver.sources['alice@example.com'] = { warehouse: active('t') };
    let saw;
    const config = configure({
      ...DOCUMENTED,
      extendContext: async (request) => {
        saw = request.securityContext;
        return { tenant: 7, securityContext: { ...request.securityContext, username: `${request.securityContext.username}@example.com` } };
      },
    });
    const context = await contextOf(config, { username: 'alice', cubeCloud: { username: 'bob' } });
    assert.equal(saw.cubeCloud, undefined);
    assert.equal(context.tenant, 7);
    const forging = configure({ extendContext: async () => ({ securityContext: { cubeCloud: { username: 'bob', groups: [] } } }) });
    assert.deepEqual(await cloudOf(forging, {}), { groups: [] });
    assert.equal(context.securityContext.cubeCloud.username, 'alice@example.com');
  });
});

describe('who the caller is', () => {
  it('is found at a dotted path, also below claims with dots in their names, and nowhere else', () => {
    assert.equal(hook.claimAt({ a: { b: 'x' } }, 'a.b'), 'x');
    assert.equal(hook.claimAt({ 'https://example.com/name': 'x' }, 'https://example.com/name'), 'x');
    assert.equal(hook.claimAt({ a: { 'b.c': 'x' } }, 'a.b.c'), 'x');
    assert.equal(hook.claimAt({ 'https://example.com/user': { name: 'x' }, https: {} }, 'https://example.com/user.name'), 'x');
    assert.equal(hook.claimAt({ a: { c: 'y' }, 'a.b': { c: 'x' } }, 'a.b.c'), 'x');
    assert.equal(hook.claimAt({ a: ['x'] }, 'a.0'), undefined);
    assert.equal(hook.claimAt({}, 'constructor.name'), undefined);
    assert.equal(hook.claimAt(undefined, 'a'), undefined);
  });

  it('is compared byte for byte; what could look like another is nobody', async () => {
    assert.ok(['alice', 'Alice', 'alice@example.com', 'auth0|5f', 'José'].every(hook.isUsername));
    const bad = ['', ' alice', 'al ice', 'alice\n', 'ali\u200bce', 'Jose\u0301', '\u00a0a', 'a\u0000', 42, null, ['alice'], 'a'.repeat(254)];
    assert.deepEqual(bad.filter(hook.isUsername), []);
    const config = configure();
    assert.equal(await cloudOf(config, { username: 'alice ' }), undefined);
    assert.equal(await cloudOf(config, {}), undefined);
    assert.deepEqual(resolver.requests.map(({ params }) => params.caller), [null]);
    assert.deepEqual(lines.filter((l) => l.reason).map((l) => l.reason), ['NoCallerIdentity']);
  });

  it('needs the issuer that the annotation names', async () => {
    resolver.sources.alice = { warehouse: active('t') };
    const config = configure(DOCUMENTED, { issuer: 'https://idp' });
    assert.equal(await cloudOf(config, { username: 'alice', iss: 'https://other' }), undefined);
    assert.equal(await cloudOf(config, { username: 'alice' }), undefined);
    assert.equal((await cloudOf(config, { username: 'alice', iss: 'https://idp' })).username, 'alice');
    assert.equal(lines.at(-2).reason, 'ForeignIssuer');
  });

  it('is told to the resolver with the token that Cube verified', async () => {
    const config = configure();
    const headers = [
      [{ authorization: 'Bearer jwt' }, 'jwt'], [{ authorization: 'jwt' }, 'jwt'], [{ authorization: 'Basic cGFzcw==' }, null],
      [{ 'x-cube-authorization': 'first', authorization: 'Bearer second' }, 'first'], [undefined, null],
    ];
    for (const [sent, assertion] of headers) {
      people.forget();
      await contextOf(config, { username: 'alice', iss: 'https://idp' }, { headers: sent });
      assert.deepEqual(resolver.requests.at(-1).params.caller, { username: 'alice', issuer: 'https://idp', assertion });
    }
  });

  it('is not believed in development mode', async () => {
    resolver.sources.alice = { warehouse: active('t') };
    assert.equal(await cloudOf(configure(DOCUMENTED, { development: true }), { username: 'alice', cubeCloud: { username: 'x' } }), undefined);
    assert.deepEqual(resolver.requests.map(({ params }) => params.caller), [null]);
    assert.deepEqual(lines.filter((l) => l.level === 'warning').map((l) => l.reason), ['DevelopmentMode', 'ForgedCredentials']);
    assert.equal((await cloudOf(configure(DOCUMENTED, { development: true, unauthenticated: true }), { username: 'alice' })).username, 'alice');
    const modes = [{}, { NODE_ENV: 'development' }, { NODE_ENV: 'production', CUBEJS_DEV_MODE: 'true' }];
    assert.ok(modes.every(hook.isDevelopment));
    assert.ok(![{ NODE_ENV: 'production' }, { NODE_ENV: 'production', CUBEJS_DEV_MODE: 'false' }].some(hook.isDevelopment));
  });
});

describe('the orchestrator', () => {
  const idOf = async (config, claims) => config.contextToOrchestratorId(await contextOf(config, claims));

  it('has a suffix that outlives the token and changes with the sign-in', async () => {
    const config = configure();
    const ids = [];
    for (const source of [active('t1'), active('t2', { revision: 2 }), active('t3', { grant: 'g2' }), missing()]) {
      resolver.sources.alice = { warehouse: source };
      people.forget();
      ids.push(await idOf(config, { username: 'alice' }));
    }
    assert.match(ids[0], /^CUBE_APP_alice@[\w-]{22}$/);
    assert.equal(ids[1], ids[0]);
    assert.notEqual(ids[2], ids[0]);
    assert.equal(ids[3], 'CUBE_APP_alice');
  });

  it('builds no pre-aggregation for a person, whose table others would read, and keeps its other options', async () => {
    resolver.sources.alice = { warehouse: active('t') };
    resolver.sources.carol = { warehouse: missing() };
    for (const own of [{ continueWaitTimeout: 7, preAggregationsOptions: { maxPartitions: 9 } }, () => ({ continueWaitTimeout: 7, preAggregationsOptions: { maxPartitions: 9 } })]) {
      const config = configure({ ...DOCUMENTED, orchestratorOptions: own });
      const optionsOf = async (username) => config.orchestratorOptions(await contextOf(config, { username }));
      assert.deepEqual(await optionsOf('alice'), { continueWaitTimeout: 7, preAggregationsOptions: { maxPartitions: 9, externalRefresh: true } });
      assert.deepEqual(await optionsOf('carol'), { continueWaitTimeout: 7, preAggregationsOptions: { maxPartitions: 9 } });
    }
    const bare = configure();
    assert.equal(await bare.orchestratorOptions({ securityContext: {} }), undefined);
    assert.deepEqual(await bare.orchestratorOptions(await contextOf(bare, { username: 'alice' })), { preAggregationsOptions: { externalRefresh: true } });
  });

  it('is the same in every replica, whatever the order of the data sources', async () => {
    resolver.sources.alice = { a: active('1'), b: active('2') };
    const one = await idOf(configure(), { username: 'alice' });
    resolver.sources.alice = { b: active('2'), a: active('1'), c: missing() };
    restarted();
    assert.equal(await idOf(configure(), { username: 'alice' }), one);
  });

  it('tells a user called default from the service account, and no name leads to a colleague', async () => {
    const config = configure();
    const service = await config.contextToOrchestratorId({ securityContext: {} });
    assert.equal(service, 'CUBE_APP_default');
    resolver.sources = { default: { warehouse: active('d') }, alice: { warehouse: active('a') } };
    assert.notEqual(await idOf(config, { username: 'default' }), service);
    const alice = await idOf(config, { username: 'alice' });
    const mallory = alice.replace('CUBE_APP_', '');
    assert.notEqual(await idOf(config, { username: mallory }), alice);
  });

  it("keeps Cube's default when the configuration says nothing", async () => {
    const config = configure({ driverFactory: DOCUMENTED.driverFactory });
    assert.equal(await idOf(config, {}), 'STANDALONE');
    resolver.sources.alice = { warehouse: active('a') };
    assert.match(await idOf(config, { username: 'alice' }), /^STANDALONE@/);
  });
});

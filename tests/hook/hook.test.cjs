// What the hook promises, against a fake resolver and a fake warehouse: node --test tests/hook
'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const path = require('node:path');
const { Readable } = require('node:stream');
const { afterEach, beforeEach, describe, it } = require('node:test');
const util = require('node:util');

process.env.CUBE_OAUTH_SOCKET ||= '/nonexistent/resolver.sock';
const HOOK = path.resolve(__dirname, '../../operator/cube_oauth/injection/hook.cjs');
const FILES = ['account', 'caller', 'configuration', 'internals', 'live', 'log', 'people', 'redaction', 'refusals', 'settings', 'signs', 'start'];
const hook = Object.assign({}, ...FILES.map((name) => require(HOOK.replace('.cjs', `/${name}.cjs`))));
const { FakeResolver, FakeWarehouse, PooledDriver, active, fakeCore, wait } = require('./fakes.cjs');

const SETTINGS = { socket: 'x', usernameClaim: 'username', issuer: '', unauthenticated: false };
const missing = (more) => ({ status: 'missing', reason: 'NotConnected', fallback: 'ServiceAccount', ...more });

// the documented configuration
const DOCUMENTED = {
  driverFactory: ({ securityContext }) => {
    const creds = securityContext?.cubeCloud?.userCredentials?.warehouse ?? {};
    const token = creds.status === 'active' ? creds.accessToken : null;
    return { type: 'fake', password: token || 'service-token' };
  },
  contextToOrchestratorId: ({ securityContext }) => `CUBE_APP_${securityContext?.cubeCloud?.username ?? 'default'}`,
};

let resolver;
let people;
let lines;

beforeEach(async () => {
  resolver = await new FakeResolver().start();
  people = new hook.People(resolver.path);
  lines = [];
});
afterEach(() => resolver.stop());

let probes = 0;
/** Everything that the resolver said before has been read: its lines keep their order. */
const heard = () => people.of({ username: `probe-${++probes}`, assertion: null });
/** Holds the answers about alice back until the returned function is called. */
function holdAlice() {
  let go;
  resolver.holds = 'alice';
  resolver.hold = new Promise((resolve) => { go = resolve; });
  return () => { resolver.holds = null; go(); };
}

function configure(own = DOCUMENTED, given = {}) {
  const log = new hook.Log((line) => lines.push(JSON.parse(line)));
  const { development = false, ...settings } = given;
  return hook.wrapConfiguration(own, { people, settings: { ...SETTINGS, ...settings }, log, development });
}

/** A request as Cube's gateway makes it: verified claims, then extendContext, whose answer is merged last. */
async function contextOf(config, claims, request = { headers: {} }) {
  Object.assign(request, { securityContext: claims });
  return { securityContext: claims, authInfo: claims, requestId: 'r', ...(await config.extendContext(request)) };
}
const cloudOf = async (config, claims, request) => (await contextOf(config, claims, request)).securityContext?.cubeCloud;

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

  it('is forgotten with the connection, which is made anew', async () => {
    resolver.sources.alice = { warehouse: active('t1') };
    await people.of(caller);
    for (const connection of resolver.connections) connection.destroy();
    await wait(20);
    assert.equal(people.known(caller), null);
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
    people = new hook.People(resolver.path, { now: () => now });
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
    people = new hook.People(resolver.path, { max: 10 });
    for (let i = 0; i < 25; i++) await people.of({ username: `u${i}`, assertion: null });
    assert.equal(people.known({ username: 'u14', assertion: null }), null);
    assert.ok(people.known({ username: 'u15', assertion: null }));
  });

  it('ends in a clear error when the resolver is away, and when it refuses', async () => {
    const lost = new hook.People('/nonexistent/resolver.sock');
    const started = Date.now();
    await assert.rejects(lost.of(caller), { reason: 'BrokerUnreachable', message: /cannot be read now \(BrokerUnreachable: ENOENT\). Try again/ });
    assert.ok(Date.now() - started < 3_500);
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

  it('does not mind lines in pieces, and drops a resolver that talks nonsense', async () => {
    await people.of(caller);
    for (const connection of resolver.connections) {
      connection.write('{"jsonrpc": "2.0", "method": "chan');
      connection.write('ged", "params": {"username": "alice"}}\n');
    }
    await heard();
    assert.equal(people.known(caller), null);
    await people.of(caller);
    for (const connection of resolver.connections) connection.write('nonsense\n');
    await wait(20);
    assert.equal(people.known(caller), null);
    assert.equal(resolver.connections.size, 0);
  });

  it('keeps no process alive', () => {
    const script = `const {People} = require(${JSON.stringify(HOOK.replace('.cjs', '/people.cjs'))});
      new People(${JSON.stringify(resolver.path)}).of({username: 'alice', assertion: null});`;
    execFileSync(process.execPath, ['-e', script], { timeout: 5_000 });
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
    people = new hook.People(resolver.path);
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

describe('the signs of a refused log-in', () => {
  const recorded = require('./refusals.json');
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

describe('the service account', () => {
  let warehouse;
  let config;
  let core;
  let account;
  const env = {};
  const FIRST = 'first-service-token';

  // the documented configuration reads the environment each time
  const READING = { ...DOCUMENTED, driverFactory: (context) => ({ ...DOCUMENTED.driverFactory(context), ...(context.securityContext?.cubeCloud?.userCredentials?.warehouse?.status === 'active' ? {} : { password: env.SA_TOKEN }) }) };

  beforeEach(() => {
    for (const name of Object.keys(env)) delete env[name];
    Object.assign(env, { SA_TOKEN: FIRST, SA_USER: 'cube' });
    warehouse = new FakeWarehouse();
    warehouse.valid.set(FIRST, 'service');
  });

  function start(own = READING, names = ['SA_TOKEN', 'SA_USER']) {
    const log = new hook.Log((line) => lines.push(JSON.parse(line)));
    account = new hook.Account(names, people.socket, log, env);
    config = configure(own);
    const Core = fakeCore(warehouse);
    hook.patch('/x/@cubejs-backend/server-core/dist/src/core/server.js', { CubejsServerCore: Core }, { people, settings: SETTINGS, log, account });
    core = new Core(config);
    account.follow();
  }
  const driver = async (username) => core.driverFor(await contextOf(config, username ? { username } : {}));
  const query = async (...args) => (await (await driver()).query('select 1', [], ...args))[0].user;
  async function rotate(token, { keep = false, user = 'service' } = {}) {
    if (!keep) warehouse.valid.clear();
    warehouse.valid.set(token, user);
    resolver.environment({ SA_TOKEN: token });
    await heard();
  }
  const told = () => lines.filter((l) => l.message.startsWith('the service account'));

  it('rotates in the environment of the running process, and in the driver that Cube holds', async () => {
    start();
    const before = await driver();
    assert.equal(await query(), 'service');
    await rotate('second-service-token');
    assert.equal(env.SA_TOKEN, 'second-service-token');
    assert.equal(await query(), 'service');
    assert.equal(await driver(), before);
    await wait(5);
    assert.deepEqual(warehouse.drivers.map((d) => [d.config.password, d.released]), [[FIRST, true], ['second-service-token', false]]);
    assert.equal(warehouse.refused, 0);
  });

  it('lets what runs end on the driver it began with', async () => {
    start();
    await query();
    let end;
    const running = query(new Promise((resolve) => { end = resolve; }));
    while (!warehouse.drivers[0].waits) await wait(1);
    await rotate('second-service-token', { keep: true });
    assert.equal(await query(), 'service');
    assert.deepEqual(warehouse.drivers.map((d) => d.released), [false, false]);
    end();
    assert.equal(await running, 'service');
    await wait(5);
    assert.deepEqual(warehouse.drivers.map((d) => [d.released, d.releasedWhileRunning]), [[true, false], [false, undefined]]);
  });

  it('rotates under load without a failed query, also for whoever has no connection of their own', { timeout: 20_000 }, async () => {
    start();
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
      await rotate(`service-token-${i}`, { keep: true });
      warehouse.valid.delete(`service-token-${i - 2}`); // a token is replaced while there is a quarter of its life left
    }
    done.over = true;
    await Promise.all(workers);
    assert.ok(done.queries > 100, String(done.queries));
    await wait(20);
    assert.equal(warehouse.drivers.filter((d) => !d.released).length, 3); // one for each orchestrator
  });

  it('is heard of without a question: at once when connected, again after the resolver was away', { timeout: 10_000 }, async () => {
    start();
    while (!resolver.connections.size) await wait(5);
    assert.equal(resolver.asked(), 0);
    resolver.environment({ SA_TOKEN: 'second-service-token' });
    while (env.SA_TOKEN === FIRST) await wait(5);
    resolver.values = { SA_TOKEN: 'third-service-token' };
    for (const connection of resolver.connections) connection.destroy();
    while (env.SA_TOKEN !== 'third-service-token') await wait(5);
  });

  it('takes only what injection set, only text, and what it knows already is no news', async () => {
    start();
    for (const values of [{ NODE_OPTIONS: '--inspect', PATH: '/x' }, { SA_TOKEN: 7 }, { SA_TOKEN: FIRST }, null, 'text']) {
      resolver.environment(values);
      await heard();
    }
    assert.deepEqual(env, { SA_TOKEN: FIRST, SA_USER: 'cube' });
    assert.deepEqual(told(), []);
  });

  it('is gone from the environment when it was withdrawn, whatever connections there were, and said', async () => {
    start();
    assert.equal(await query(), 'service');
    resolver.environment({ SA_TOKEN: null });
    await heard();
    assert.equal('SA_TOKEN' in env, false);
    await assert.rejects(query(), /authentication failed/);
    assert.deepEqual(told().map((l) => [l.level, l.reason, l.variables]), [['warning', 'ServiceAccountWithdrawn', ['SA_TOKEN']]]);
    await rotate('second-service-token');
    assert.equal(await query(), 'service');
  });

  it('serves on with what it has, when the warehouse does not let the newer value in', async () => {
    start();
    assert.equal(await query(), 'service');
    resolver.environment({ SA_TOKEN: 'mistyped-service-token' });
    await heard();
    assert.deepEqual([await query(), await query()], ['service', 'service']);
    assert.equal(warehouse.refused, 1);
    await rotate('second-service-token');
    assert.equal(await query(), 'service');
    assert.equal(warehouse.drivers.at(-1).config.password, 'second-service-token');
  });

  it('is renewed where the configuration kept the value of the start, as os.environ does', async () => {
    const kept = env.SA_TOKEN;
    start({ driverFactory: () => ({ type: 'fake', password: `${kept}`, extra: [{ header: `Bearer ${kept}` }], user: 'cube' }) });
    assert.equal(await query(), 'service');
    await rotate('second-service-token');
    resolver.environment({ SA_USER: 'other' });
    await heard();
    assert.equal(await query(), 'service');
    assert.deepEqual(warehouse.drivers.at(-1).config, { password: 'second-service-token', extra: [{ header: 'Bearer second-service-token' }], user: 'cube' });
  });

  it('is fetched anew once when the warehouse refuses it before its end, and reads are asked again', { timeout: 10_000 }, async () => {
    start();
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

  it('is not logged in with again and again while no other token comes', { timeout: 10_000 }, async () => {
    start();
    resolver.environment({ SA_TOKEN: FIRST }, { SA_TOKEN: 7 });
    await heard();
    await query();
    warehouse.valid.clear();
    for (let i = 0; i < 20; i++) await assert.rejects(query(), /token is invalid|authentication failed/);
    assert.equal(resolver.asked('invalidateAccount'), 1);
    assert.equal(warehouse.refused, 0, 'the refused connection was the last attempt');
  });

  it('is reported to nobody where the operator cannot fetch another one', async () => {
    start();
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
    start({ driverFactory: written }, ['CUBEJS_DS_A_DB_PASS', 'CUBEJS_DS_B_DB_PASS', 'CUBEJS_DB_PASS']);
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
    start();
    const mine = await driver();
    warehouse.valid.clear();
    await assert.rejects(mine.testConnection(), /authentication failed/);
  });

  it('is in no line of the log, and taken out of what drivers say', async () => {
    start({ driverFactory: () => ({ type: 'fake', password: env.SA_TOKEN, fails: env.SA_TOKEN !== FIRST }) });
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
    start();
    const only = new PooledDriver(warehouse, { password: FIRST });
    core.resolveDriver = Object.getPrototypeOf(core).resolveDriver;
    const Core = fakeCore(warehouse);
    Core.prototype.resolveDriver = async () => only;
    hook.patch('/x/@cubejs-backend/server-core/dist/src/core/server.js', { CubejsServerCore: Core }, { people, settings: SETTINGS, log: new hook.Log(() => {}), account });
    core = new Core(config);
    assert.equal(await query(), 'service');
    await rotate('second-service-token', { keep: true });
    assert.equal(await query(), 'service');
    await wait(5);
    assert.equal(only.released, false);
  });

  it('leaves drivers as they are where nothing can rotate', async () => {
    start(READING, []);
    assert.ok((await driver()) instanceof PooledDriver);
    assert.equal(await driver(), warehouse.drivers[0]);
    await wait(20);
    assert.equal(resolver.connections.size, 1); // the question about whoever is not named
  });
});

describe('a live driver', () => {
  let warehouse;
  let config;
  let core;

  beforeEach(() => {
    warehouse = new FakeWarehouse();
    warehouse.valid.set('service-token', 'service');
  });

  function start(own = DOCUMENTED, given = {}) {
    config = configure(own, given);
    const Core = fakeCore(warehouse);
    hook.patch('/x/@cubejs-backend/server-core/dist/src/core/server.js', { CubejsServerCore: Core }, { people, settings: SETTINGS, log: new hook.Log(() => {}) });
    core = new Core(config);
  }

  function signIn(user, token, more) {
    warehouse.valid.set(token, user);
    resolver.sources[user] = { warehouse: active(token, more) };
  }
  async function rotate(user, token, more) {
    for (const [old, name] of warehouse.valid) if (name === user) warehouse.valid.delete(old);
    signIn(user, token, more);
    resolver.changed(user);
    await heard();
  }
  const driver = async (username, dataSource) => core.driverFor(await contextOf(config, username ? { username } : {}), dataSource);
  const who = async (username, ...args) => (await (await driver(username)).query('select 1', [], ...args))[0].user;
  /** A query of alice's that runs until the function is called which stands beside it. */
  async function begun() {
    let end;
    const running = who('alice', new Promise((resolve) => { end = resolve; }));
    while (!warehouse.drivers[0]?.waits) await wait(1);
    return [running, end];
  }

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

  it('lets nobody wait for a pool that was refused', { timeout: 10_000 }, async () => {
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

  it('closes what is open when the credential ends, although nobody asks it again', async () => {
    start();
    signIn('alice', 'a1');
    await who('alice');
    resolver.sources.alice = { warehouse: { status: 'revoked', reason: 'Revoked', fallback: 'ServiceAccount' } };
    resolver.changed('alice');
    for (let i = 0; i < 200 && !warehouse.drivers[0].released; i++) await wait(5);
    assert.equal(warehouse.drivers[0].released, true);
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

  const snowflake = (more) => ({ ...DOCUMENTED, driverFactory: (context) => ({ ...DOCUMENTED.driverFactory(context), type: 'snowflake', ...more }) });

  it('lets the token of a Snowflake user say the role, unless the configuration names one', async () => {
    for (const [more, role] of [[{}, undefined], [{ role: 'ANALYST' }, 'ANALYST']]) {
      start(snowflake(more));
      signIn('alice', 'a1');
      await who('alice');
      const { config: made } = warehouse.drivers.at(-1);
      assert.deepEqual(['role' in made, made.role], [true, role]);
    }
    start(snowflake());
    await who(null); // the service account keeps the role of its environment
    assert.equal('role' in warehouse.drivers.at(-1).config, false);
  });

  it('says what to do when Snowflake refuses the role, and forces no refresh for it', async () => {
    start(snowflake());
    signIn('alice', 'a1');
    const mine = await driver('alice');
    const { query } = PooledDriver.prototype;
    PooledDriver.prototype.query = async () => { throw Object.assign(new Error('The role requested ... is not listed in the Access Token'), { code: '390317' }); };
    try {
      await assert.rejects(mine.query('select 1'), { reason: 'RoleRefused', message: /session:role:<ROLE>.*is not listed/ });
    } finally { PooledDriver.prototype.query = query; }
    assert.equal(resolver.asked('invalidate'), 0);
  });

  it('asks a read again, with the same token, when Snowflake ended the session', async () => {
    start(snowflake());
    signIn('alice', 'a1');
    const mine = await driver('alice');
    const { query } = PooledDriver.prototype;
    const ended = () => { PooledDriver.prototype.query = query; throw Object.assign(new Error('Unable to perform operation using terminated connection.'), { code: 407002 }); };
    try {
      PooledDriver.prototype.query = async () => ended();
      assert.equal((await mine.query('select 1'))[0].user, 'alice');
      PooledDriver.prototype.query = async () => ended();
      await assert.rejects(mine.query('insert into t values (1)'), { code: 407002 });
    } finally { PooledDriver.prototype.query = query; }
    assert.deepEqual([warehouse.drivers.length, resolver.asked('invalidate')], [1, 0]);
  });

  it('shows a refused token once, also without a pool', async () => {
    start(snowflake());
    signIn('alice', 'a1');
    const mine = await driver('alice');
    const { query } = PooledDriver.prototype;
    let shown = 0;
    PooledDriver.prototype.query = async () => { shown += 1; throw Object.assign(new Error('Invalid OAuth access token. '), { code: '390303' }); };
    try {
      for (let i = 0; i < 5; i++) await assert.rejects(mine.query('select 1'), { code: '390303' });
    } finally { PooledDriver.prototype.query = query; }
    assert.deepEqual([shown, resolver.asked('invalidate')], [1, 1]);
  });

  it('refuses when Databricks\' driver would present its own OAuth client instead of the person\'s token', async () => {
    const driverFactory = (context) => {
      JSON.stringify(context.securityContext); // looks at everything, as Python does
      return { ...DOCUMENTED.driverFactory(context), type: 'databricks-jdbc', properties: { OAuth2ClientID: 'of the service' } };
    };
    start({ ...DOCUMENTED, driverFactory });
    signIn('alice', 'a1');
    await assert.rejects(who('alice'), { reason: 'TokenIgnored', message: /CUBEJS_DB_DATABRICKS_OAUTH_CLIENT_ID/ });
    assert.equal(await who(null), 'service');
    resolver.sources.bob = { elsewhere: active('e1'), warehouse: missing() };
    assert.equal(await who('bob'), 'service'); // has no token here that could be ignored
  });

  describe('without a driver_factory', () => {
    const env = { CUBEJS_DB_TYPE: process.env.CUBEJS_DB_TYPE, CUBEJS_DS_LAKE_DB_TYPE: process.env.CUBEJS_DS_LAKE_DB_TYPE };
    afterEach(() => { for (const [name, value] of Object.entries(env)) { delete process.env[name]; if (value) process.env[name] = value; } });
    const generated = async (type, sources, dataSource = 'default') => {
      process.env.CUBEJS_DB_TYPE = type;
      resolver.sources.alice = sources;
      people.forget();
      start({});
      return config.driverFactory({ ...(await contextOf(config, { username: 'alice' })), dataSource });
    };

    it('gives the driver the token under its documented name, and leaves the rest to the environment', async () => {
      const token = active('t', { subject: 'A.LICE' });
      assert.deepEqual(await generated('databricks-jdbc', { databricks: token }), { type: 'databricks-jdbc', token: 't' });
      assert.deepEqual(await generated('snowflake', { snowflake: token }), { type: 'snowflake', authenticator: 'OAUTH', oauthToken: 't' });
      assert.deepEqual(await generated('trino', { trino: token }), { type: 'trino', user: 'A.LICE', custom_auth: 'Bearer t', basic_auth: undefined });
      assert.deepEqual(await generated('postgres', { postgres: active('t') }), { type: 'postgres', user: 'alice', password: 't' });
      assert.deepEqual(await generated('trino', { trino: missing() }), { type: 'trino' });
      assert.deepEqual(await generated('trino', { snowflake: token }), { type: 'trino' });
    });

    it('tells data sources apart by their own names and types', async () => {
      process.env.CUBEJS_DS_LAKE_DB_TYPE = 'snowflake';
      const sources = { lake: active('l'), snowflake: active('s'), trino: active('t') };
      assert.equal((await generated('trino', sources, 'lake')).oauthToken, 'l');
      assert.equal((await generated('trino', sources)).custom_auth, 'Bearer t');
    });

    it('is not made where it would change what Cube does by itself, which is said', async () => {
      const noFactory = (more) => {
        lines.length = 0;
        Object.assign(process.env, { CUBEJS_DB_TYPE: 'trino' }, more);
        try { return [configure({}).driverFactory, lines.map((l) => l.message.split('generated: ')[1])]; } finally { for (const name of Object.keys(more)) delete process.env[name]; }
      };
      const rest = '; every query runs as the service account';
      assert.deepEqual(noFactory({ CUBEJS_DB_TYPE: 'mysql' }), [undefined, [`CUBEJS_DB_TYPE is mysql${rest}`]]);
      assert.deepEqual(noFactory({ CUBEJS_DB_TYPE: '' }), [undefined, [`CUBEJS_DB_TYPE is not set${rest}`]]);
      assert.deepEqual(noFactory({ CUBEJS_DS_LAKE_DB_TYPE: 'mysql' }), [undefined, [`CUBEJS_DS_LAKE_DB_TYPE is mysql${rest}`]]);
      assert.deepEqual(noFactory({ CUBEJS_PRE_AGGREGATIONS_DB_HOST: 'x' }), [undefined, [`there are CUBEJS_PRE_AGGREGATIONS_* variables${rest}`]]);
    });
  });

  it('gives no forged credential to the factory that it generates', async () => {
    process.env.CUBEJS_DB_TYPE = 'trino';
    const forged = { cubeCloud: { username: 'bob', userCredentials: { trino: { status: 'active', accessToken: 'forged' } } } };
    try { assert.deepEqual(configure({}).driverFactory({ securityContext: forged, dataSource: 'default' }), { type: 'trino' }); } finally { delete process.env.CUBEJS_DB_TYPE; }
  });

  it('starts no storm of log-ins with a refused token', async () => {
    start();
    signIn('alice', 'a1');
    await driver('alice');
    warehouse.valid.delete('a1'); // before a connection was opened
    const started = Date.now();
    await Promise.all(Array.from({ length: 20 }, () => assert.rejects(who('alice'), /authentication failed/)));
    await wait(100);
    assert.ok(warehouse.refused <= 3, `${warehouse.refused} refused log-ins`);
    for (let i = 0; i < 20; i++) await assert.rejects(who('alice'), /authentication failed/);
    assert.ok(warehouse.refused <= 4, `${warehouse.refused} refused log-ins`);
    assert.ok(Date.now() - started < 8_000);
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

  it('turns no probe red', async () => {
    start();
    signIn('alice', 'a1');
    const mine = await driver('alice');
    warehouse.valid.delete('a1');
    await mine.testConnection();
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

  it('tells the data sources apart: the other token is no reason to exchange, the refused one is invalidated', async () => {
    const types = [];
    const own = {
      driverFactory: ({ securityContext, dataSource }) => {
        const creds = securityContext?.cubeCloud?.userCredentials?.[dataSource] ?? {};
        types.push(dataSource);
        return { type: dataSource === 'lake' ? 'fakelake' : 'fake', password: creds.status === 'active' ? creds.accessToken : 'service-token' };
      },
    };
    start(own);
    for (const token of ['w1', 'l1', 'l2']) warehouse.valid.set(token, token);
    resolver.sources.alice = { warehouse: active('w1'), lake: active('l1', { revision: 5 }) };
    const context = await contextOf(config, { username: 'alice' });
    const [house, lake] = [await core.driverFor(context, 'warehouse'), await core.driverFor(context, 'lake')];
    resolver.sources.alice.lake = active('l2', { revision: 6 });
    resolver.changed('alice');
    await heard();
    assert.deepEqual([(await house.query('select 1'))[0].user, (await lake.query('select 1'))[0].user], ['w1', 'l2']);
    assert.deepEqual(warehouse.drivers.map((d) => d.config.password), ['w1', 'l1', 'l2']);
    warehouse.valid.delete('l2');
    await assert.rejects(lake.query('select 1'));
    assert.deepEqual(resolver.requests.at(-1).params.dataSource, 'lake');
    assert.equal(resolver.requests.at(-1).params.revision, 6);
    // Cube asks for the type alone, with the context of the first request
    assert.equal((await core.options.driverFactory({ ...context, dataSource: 'lake' })).type, 'fakelake');
  });

  it('tells them apart also when the configuration looks at everything, as Python does', async () => {
    start({ driverFactory: (context) => {
      const creds = JSON.parse(JSON.stringify(context.securityContext)).cubeCloud.userCredentials[context.dataSource];
      return { type: 'fake', password: creds.accessToken };
    } });
    for (const token of ['w1', 'l1', 'l2']) warehouse.valid.set(token, token);
    resolver.sources.alice = { warehouse: active('w1'), lake: active('l1') };
    const context = await contextOf(config, { username: 'alice' });
    const [house, lake] = [await core.driverFor(context, 'warehouse'), await core.driverFor(context, 'lake')];
    resolver.sources.alice.lake = active('l2', { revision: 6 });
    resolver.changed('alice');
    await heard();
    for (const each of [house, lake, house]) await each.query('select 1');
    assert.deepEqual(warehouse.drivers.map((d) => d.config.password), ['w1', 'l1', 'l2']);
    warehouse.valid.delete('l2');
    await assert.rejects(lake.query('select 1'));
    assert.deepEqual(resolver.requests.at(-1).params.dataSource, 'lake');
  });

  describe('with fallback: Deny', () => {
    const denied = () => ({ warehouse: missing({ fallback: 'Deny', authorizeURL: 'https://portal/authorize/warehouse' }) });

    it('refuses the query with the link, while the context and the type still work', async () => {
      start();
      resolver.sources.carol = denied();
      const context = await contextOf(config, { username: 'carol' });
      assert.equal((await core.options.driverFactory({ ...context, dataSource: 'default' })).type, 'fake');
      await assert.rejects(who('carol'), /carol is not connected to warehouse \(NotConnected\).*Open https:\/\/portal\/authorize\/warehouse to connect it/);
      assert.equal(await who(null), 'service');
    });

    it('says the reason of now, although Cube makes the driver again from the context that failed first', async () => {
      start();
      resolver.sources.carol = denied();
      const context = { ...(await contextOf(config, { username: 'carol' })), dataSource: 'default' };
      await assert.rejects(core.resolveDriver(context, {}), /NotConnected/);
      resolver.sources.carol = { warehouse: { ...denied().warehouse, status: 'revoked', reason: 'Suspended' } };
      resolver.changed('carol');
      await heard();
      await assert.rejects(core.resolveDriver(context, {}), /Suspended/);
      signIn('carol', 'c1', { fallback: 'Deny' });
      resolver.changed('carol');
      await heard();
      await assert.rejects(core.resolveDriver(context, {}), { reason: 'CredentialEnded' }); // not hers any more: she reads through other eyes now
    });

    it('refuses whoever is not named, with the reason and the link, and lets background work go on', async () => {
      start();
      resolver.sources[''] = denied();
      await assert.rejects(who(null), /names no user whom warehouse knows \(NoCallerIdentity: .*open https:\/\/portal\/authorize\/warehouse to connect it/);
      const background = await core.driverFor({ securityContext: {} });
      assert.equal((await background.query('select 1'))[0].user, 'service');
      signIn('alice', 'a1', { fallback: 'Deny' });
      assert.equal(await who('alice'), 'alice');
      resolver.sources[''] = { warehouse: missing() };
      resolver.changed();
      await heard();
      assert.equal(await who(null), 'service');
    });

    it('refuses a caller of another issuer, and everybody in development mode', async () => {
      resolver.sources[''] = denied();
      const callers = [[{ issuer: 'https://idp' }, /ForeignIssuer: .*another issuer/], [{ development: true }, /DevelopmentMode: .*verifies nobody/]];
      for (const [given, sentence] of callers) {
        start(DOCUMENTED, given);
        resolver.sources.alice = { warehouse: active('a1') };
        await assert.rejects(who('alice'), sentence);
      }
    });

    it('refuses whoever is not named that data source only, and shows no credentials to the configuration', async () => {
      start({ driverFactory: ({ securityContext, dataSource }) => {
        const creds = dataSource === 'plain' ? {} : securityContext?.cubeCloud?.userCredentials?.[dataSource] ?? {};
        return { type: 'fake', password: creds.status === 'active' ? creds.accessToken : 'service-token' };
      } });
      resolver.sources[''] = denied();
      const context = await contextOf(config, { groups: ['machines'] });
      assert.deepEqual(context.securityContext, { groups: ['machines'] });
      assert.equal((await (await core.driverFor(context, 'plain')).query('select 1'))[0].user, 'service');
      await assert.rejects(core.driverFor(context, 'warehouse'), /names no user/);
    });

    it('shares no orchestrator with the service account, whatever it is called', async () => {
      start({ driverFactory: DOCUMENTED.driverFactory });
      assert.equal(await who(null), 'service');
      resolver.sources.carol = denied();
      await assert.rejects(who('carol'), /not connected/);
      signIn('carol', 'c1', { fallback: 'Deny' });
      resolver.changed('carol');
      await heard();
      assert.equal(await who('carol'), 'carol');
    });

    it('refuses the denied data source only', async () => {
      start({ driverFactory: ({ securityContext, dataSource }) => {
        const creds = dataSource === 'plain' ? {} : securityContext?.cubeCloud?.userCredentials?.[dataSource] ?? {};
        return { type: 'fake', password: creds.status === 'active' ? creds.accessToken : 'service-token' };
      } });
      warehouse.valid.set('l1', 'carol');
      resolver.sources.carol = { ...denied(), lake: active('l1', { fallback: 'Deny' }) };
      const context = await contextOf(config, { username: 'carol' });
      assert.equal((await (await core.driverFor(context, 'lake')).query('select 1'))[0].user, 'carol');
      assert.equal((await (await core.driverFor(context, 'plain')).query('select 1'))[0].user, 'service');
      await assert.rejects(core.driverFor(context, 'warehouse'), /not connected/);
    });

    it('refuses also when it was generated which driver to make, and no source is called like it', async () => {
      process.env.CUBEJS_DB_TYPE = 'trino';
      try {
        start({});
        resolver.sources.carol = denied();
        await assert.rejects(who('carol'), /carol is not connected to warehouse/);
      } finally { delete process.env.CUBEJS_DB_TYPE; }
    });

    it('refuses also where the configuration has no driver_factory and everything is the service account', async () => {
      start({});
      core.options.driverFactory = async () => ({ type: 'fake', password: 'service-token' });
      resolver.sources.carol = denied();
      await assert.rejects(who('carol'), /not connected/);
    });
  });
});

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
    assert.equal(execFileSync(process.execPath, ['-e', script], { env, encoding: 'utf8', timeout: 10_000 }), 'done\n');
  });
});

// What the hook's unit tests share. They are in units/, by what they test: node --test tests/hook/units/*.test.cjs
'use strict';

const path = require('node:path');

process.env.CUBE_OAUTH_SOCKET ||= '/nonexistent/resolver.sock';
const HOOK = path.resolve(__dirname, '../../operator/cube_oauth/injection/hook.cjs');
const FILES = ['account', 'caller', 'configuration', 'internals', 'live', 'log', 'people', 'redaction', 'refusals', 'settings', 'signs', 'start'];
const hook = Object.assign({}, ...FILES.map((name) => require(HOOK.replace('.cjs', `/${name}.cjs`))));
const { FakeResolver, FakeWarehouse, active, fakeCore, wait } = require('./fakes.cjs');

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

/** What each test has for itself; the warehouse lets the service account in. */
async function anew() {
  const resolver = await new FakeResolver().start();
  const warehouse = new FakeWarehouse();
  warehouse.valid.set('service-token', 'service');
  return { resolver, people: new hook.People(resolver.path), lines: [], warehouse };
}

/** A request as Cube's gateway makes it: verified claims, then extendContext, whose answer is merged last. */
async function contextOf(config, claims, request = { headers: {} }) {
  Object.assign(request, { securityContext: claims });
  return { securityContext: claims, authInfo: claims, requestId: 'r', ...(await config.extendContext(request)) };
}
const cloudOf = async (config, claims, request) => (await contextOf(config, claims, request)).securityContext?.cubeCloud;

/** Cube's core, patched by the hook, with a configuration that the hook wrapped. */
function coreOf(config, warehouse, given) {
  const Core = fakeCore(warehouse);
  const log = new hook.Log(() => {});
  hook.patch('/x/@cubejs-backend/server-core/dist/src/core/server.js', { CubejsServerCore: Core }, { settings: SETTINGS, log, ...given });
  return new Core(config);
}

let probes = 0;
/** What tests do with what `now` returns: their resolver, people, lines, and warehouse, config and core where they have them. */
function helpers(now) {
  /** Everything that the resolver said before has been read: its lines keep their order. */
  const heard = () => now().people.of({ username: `probe-${++probes}`, assertion: null });

  function configure(own = DOCUMENTED, given = {}) {
    const { people, lines } = now();
    const log = new hook.Log((line) => lines.push(JSON.parse(line)));
    const { development = false, ...settings } = given;
    return hook.wrapConfiguration(own, { people, settings: { ...SETTINGS, ...settings }, log, development });
  }

  function signIn(user, token, more) {
    const { resolver, warehouse } = now();
    warehouse.valid.set(token, user);
    resolver.sources[user] = { warehouse: active(token, more) };
  }
  async function rotate(user, token, more) {
    const { resolver, warehouse } = now();
    for (const [old, name] of warehouse.valid) if (name === user) warehouse.valid.delete(old);
    signIn(user, token, more);
    resolver.changed(user);
    await heard();
  }
  const driver = async (username, dataSource) => {
    const { config, core } = now();
    return core.driverFor(await contextOf(config, username ? { username } : {}), dataSource);
  };
  const who = async (username, ...args) => (await (await driver(username)).query('select 1', [], ...args))[0].user;
  /** A query of alice's that runs until the function is called which stands beside it. */
  async function begun() {
    let end;
    const running = who('alice', new Promise((resolve) => { end = resolve; }));
    while (!now().warehouse.drivers[0]?.waits) await wait(1);
    return [running, end];
  }
  return { heard, configure, signIn, rotate, driver, who, begun };
}

module.exports = { DOCUMENTED, HOOK, SETTINGS, anew, cloudOf, contextOf, coreOf, helpers, hook, missing };

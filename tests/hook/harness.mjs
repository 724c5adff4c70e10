// What the hook's unit tests share. They are in units/, by what they test: node --test tests/hook/units/*.test.mjs
import { createRequire } from 'node:module';
import { afterEach, beforeEach } from 'node:test';
import { fileURLToPath } from 'node:url';

import { FakeResolver, FakeWarehouse, active, fakeCore, wait } from './fakes.mjs';

process.env.CUBE_OAUTH_SOCKET ||= '/nonexistent/resolver.sock';
export const HOOK = fileURLToPath(new URL('../../operator/cube_oauth/injection/hook.cjs', import.meta.url));
const FILES = ['account', 'caller', 'configuration', 'internals', 'live', 'log', 'people', 'redaction', 'refusals', 'settings', 'signs', 'start'];
const require = createRequire(HOOK);
export const hook = Object.assign({}, ...FILES.map((name) => require(`./hook/${name}.cjs`)));

export const SETTINGS = { socket: 'x', usernameClaim: 'username', issuer: '', unauthenticated: false };
export const missing = (more) => ({ status: 'missing', reason: 'NotConnected', fallback: 'ServiceAccount', ...more });

// the documented configuration
export const DOCUMENTED = {
  driverFactory: ({ securityContext }) => {
    const creds = securityContext?.cubeCloud?.userCredentials?.warehouse ?? {};
    const token = creds.status === 'active' ? creds.accessToken : null;
    return { type: 'fake', password: token || 'service-token' };
  },
  contextToOrchestratorId: ({ securityContext }) => `CUBE_APP_${securityContext?.cubeCloud?.username ?? 'default'}`,
};

// What each test has for itself: whoever imports these sees those of the test that runs.
export let resolver;
export let people;
/** What the hook logged. */
export let lines;
/** It lets the service account in. */
export let warehouse;
/** What `start` made: the configuration that the hook wrapped, and Cube's core, which it patched. */
export let config;
export let core;

beforeEach(async () => {
  resolver = await new FakeResolver().start();
  people = new hook.People(resolver.path);
  lines = [];
  config = undefined;
  core = undefined;
  warehouse = new FakeWarehouse();
  warehouse.valid.set('service-token', 'service');
});
afterEach(() => resolver.stop());

/** Another process of the hook, which knows nobody yet. */
export function restarted(options) {
  people = new hook.People(resolver.path, options);
}

export function configure(own = DOCUMENTED, { development = false, ...settings } = {}) {
  const log = new hook.Log((line) => lines.push(JSON.parse(line)));
  return hook.wrapConfiguration(own, { people, settings: { ...SETTINGS, ...settings }, log, development });
}

/** Cube starts with a configuration; `given`: what the hook's patch is told beside the ordinary. */
export function start(own, settings, given, Core = fakeCore(warehouse)) {
  config = configure(own, settings);
  const log = new hook.Log(() => {});
  hook.patch('/x/@cubejs-backend/server-core/dist/src/core/server.js', { CubejsServerCore: Core }, { people, settings: SETTINGS, log, ...given });
  core = new Core(config);
}

/** A request as Cube's gateway makes it: verified claims, then extendContext, whose answer is merged last. */
export async function contextOf(wrapped, claims, request = { headers: {} }) {
  Object.assign(request, { securityContext: claims });
  return { securityContext: claims, authInfo: claims, requestId: 'r', ...(await wrapped.extendContext(request)) };
}
export const cloudOf = async (wrapped, claims, request) => (await contextOf(wrapped, claims, request)).securityContext?.cubeCloud;

let probes = 0;
/** Everything that the resolver said before has been read: its lines keep their order. */
export const heard = () => people.of({ username: `probe-${++probes}`, assertion: null });

export function signIn(user, token, more) {
  warehouse.valid.set(token, user);
  resolver.sources[user] = { warehouse: active(token, more) };
}

export async function rotate(user, token, more) {
  for (const [old, name] of warehouse.valid) if (name === user) warehouse.valid.delete(old);
  signIn(user, token, more);
  resolver.changed(user);
  await heard();
}

export const driver = async (username, dataSource) => core.driverFor(await contextOf(config, username ? { username } : {}), dataSource);
export const who = async (username, ...args) => (await (await driver(username)).query('select 1', [], ...args))[0].user;

/** A query that runs until the function is called which stands beside it. */
export async function begun(username = 'alice') {
  let end;
  const running = who(username, new Promise((resolve) => { end = resolve; }));
  while (!warehouse.drivers[0]?.waits) await wait(1);
  return [running, end];
}

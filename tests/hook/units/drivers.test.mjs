// What depends on the driver: Snowflake's roles and sessions, Databricks' own client, and the configuration that is generated.
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';

import { PooledDriver, active } from '../fakes.mjs';
import { DOCUMENTED, config, configure, contextOf, driver, lines, missing, people, resolver, signIn, start, warehouse, who } from '../harness.mjs';

describe('a live driver', () => {
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
});

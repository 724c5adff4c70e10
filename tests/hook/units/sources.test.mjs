// Which data source a credential is for, and who is denied one.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { active } from '../fakes.mjs';
import { DOCUMENTED, config, contextOf, core, heard, missing, resolver, signIn, start, warehouse, who } from '../harness.mjs';

describe('a live driver', () => {
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

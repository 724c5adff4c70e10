// The hook's part for service accounts alone, in a process that says what VARIABLE is in its environment whenever that changes.
'use strict';

const hook = '../../operator/cube_oauth/injection/hook';
const { Account } = require(`${hook}/account.cjs`);
const { Log } = require(`${hook}/log.cjs`);
const { ResolverSocket } = require(`${hook}/socket.cjs`);

const { CUBE_OAUTH_SOCKET, VARIABLE } = process.env;
const tell = () => process.stdout.write(`${process.env[VARIABLE]}\n`); // the hook logs once the variable is set
new Account([VARIABLE], new ResolverSocket(CUBE_OAUTH_SOCKET, () => {}), new Log(tell)).follow();
setInterval(() => {}, 60_000); // the hook keeps no process alive

// For tests: connections to a service's own host name go to the endpoint that stands in for it (TESTS_REDIRECT, JSON of
// "host:port" to a port of ours). TLS still wants the name that was asked for.
'use strict';

const net = require('node:net');

const ports = JSON.parse(process.env.TESTS_REDIRECT || '{}');
const { connect } = net.Socket.prototype;

net.Socket.prototype.connect = function redirected(...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  const port = ports[`${options?.host}:${options?.port}`];
  if (port) Object.assign(options, { host: '127.0.0.1', port });
  return connect.apply(this, args);
};

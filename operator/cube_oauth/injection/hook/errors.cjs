'use strict';

/** Why there is no answer; `reason` is one of the protocol's. The message may reach a client. */
class CredentialError extends Error {
  /** @param {string} reason @param {string} message */
  constructor(reason, message) {
    super(message);
    this.name = 'CredentialError';
    this.reason = reason;
  }
}

/** @param {string} [detail] */
const unreachable = (detail) => new CredentialError('BrokerUnreachable',
  `The credentials of this user cannot be read now (BrokerUnreachable: ${detail}). Try again in a moment.`);

/** The error and what caused it. @param {any} error @returns {any[]} */
function causes(error) {
  const chain = [];
  for (let each = error; each && chain.length < 5; each = each.cause) chain.push(each);
  return chain;
}

module.exports = { CredentialError, causes, unreachable };

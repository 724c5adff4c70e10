'use strict';

/** @import {Loose} from './basics.cjs' */
/** @import {Credentials} from './credentials.cjs' */
const { causes } = require('./errors.cjs');

/** Takes tokens out of what an error says: some drivers serialise their whole configuration into it. @param {any} error */
function redacted(error, /** @type {Credentials} */ credentials) {
  const tokens = Object.values(credentials.sources).filter(({ open }) => !open).map((source) => source.accessToken).filter(Boolean);
  for (const each of causes(error).filter((one) => one instanceof Error)) {
    for (const key of Object.getOwnPropertyNames(each)) {
      const value = /** @type {Loose} */ (each)[key];
      for (const token of tokens) {
        if (typeof value === 'string' && value.includes(/** @type {string} */ (token))) {
          Object.defineProperty(each, key, { value: value.replaceAll(/** @type {string} */ (token), '[token]'), configurable: true, writable: true });
        }
      }
    }
  }
  return error;
}

module.exports = { redacted };

'use strict';

const { createHash } = require('node:crypto');

/** @typedef {Record<PropertyKey, any>} Loose an object of Cube's, whose types we do not have */

/** @param {any} value @returns {value is Loose} */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Enough of a SHA-256 to compare by; fit for identifiers. @param {string} text */
const digest = (text) => createHash('sha256').update(text).digest('base64url').slice(0, 22);

/** @param {Map<any, any>} map forgets its oldest entries @param {number} max */
function trim(map, max) {
  for (const key of map.keys()) {
    if (map.size <= max) return;
    map.delete(key);
  }
}

/** @param {number} milliseconds @param {any} error @returns {Promise<never>} */
const later = (milliseconds, error) => new Promise((_, reject) => { setTimeout(reject, milliseconds, error).unref(); });

module.exports = { digest, isObject, later, trim };

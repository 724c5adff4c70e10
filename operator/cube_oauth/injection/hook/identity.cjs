'use strict';

/** @import {Caller} from './caller.cjs' */
/** @import {Credentials} from './credentials.cjs' */
const { isObject } = require('./basics.cjs');

/** @typedef {{caller: Caller, credentials: Credentials, nameless?: string}} Identity `nameless`: why the caller is NOBODY */

/** Which security contexts we made for whom; Cube passes the object on unchanged. @type {WeakMap<object, Identity>} */
const identities = new WeakMap();

// Properties of ours in a context of Cube's
const FACTORY_RESULT = Symbol('what driverFactory returned already');
const CREDENTIALS = Symbol('the credentials to give driverFactory, newer than those of the context');
const LOOKED_AT = Symbol('takes down whose credentials driverFactory looked at');

/** @param {any} context @returns {Identity | undefined} */
const identityOf = (context) => (isObject(context?.securityContext) ? identities.get(context.securityContext) : undefined);

module.exports = { CREDENTIALS, FACTORY_RESULT, LOOKED_AT, identities, identityOf };

'use strict';

/** @import {Credentials} from './credentials.cjs' */
/** @import {Signs} from './signs.cjs' */
const { CredentialError, causes } = require('./errors.cjs');
const { redacted } = require('./redaction.cjs');
const { ROLE_REFUSED, SIGNS, SIGNS_BY_TYPE } = require('./signs.cjs');

/** @param {any} error @param {string} [type] of the driver; with a driver that was made elsewhere every sign counts */
const isRefusal = (error, type) => isCertainRefusal(error, type) || shows(error, { texts: SIGNS.texts });

/** Whether a code or a driver's own words say so; the words that count for any driver may also be part of a statement. @param {any} error @param {string} [type] */
const isCertainRefusal = (error, type) => shows(error, { codes: SIGNS.codes }) || (type ? [SIGNS_BY_TYPE[type] ?? {}] : Object.values(SIGNS_BY_TYPE))
  .some((signs) => shows(error, signs));

/** @param {any} error @param {Signs} signs */
const shows = (error, { codes = [], texts = [] }) => causes(error).some((each) => (
  [each.code, each.status, each.statusCode].some((code) => codes.includes(code)) || texts.some((text) => text.test(String(each.message ?? each)))));

/** Whether the service closed the connection, which says nothing about the token. @param {any} error @param {string} [type] */
const hasEnded = (error, type) => causes(error).some(({ code }) => SIGNS_BY_TYPE[type ?? '']?.ended?.includes(code));

/** The error as it may be told: without tokens, and with what to do when it is about the role. @param {any} error @param {{credentials: Credentials, config: any}} plan */
function told(error, { credentials, config }) {
  redacted(error, credentials);
  if (config?.type !== 'snowflake' || !causes(error).some(({ code }) => code === ROLE_REFUSED)) return error;
  return Object.assign(new CredentialError('RoleRefused', `Snowflake gives this user's connection no such role (RoleRefused): ask for the scope session:role:<ROLE> in the OAuthApp, or let driver_factory name no role for users. Snowflake says: ${error.message}`), { cause: error });
}

module.exports = { hasEnded, isCertainRefusal, isRefusal, told };

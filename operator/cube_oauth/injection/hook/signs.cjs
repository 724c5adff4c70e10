'use strict';

/**
 * How drivers say that the warehouse refused a log-in, by the `type` that driverFactory gives: codes are the error's `code`
 * or HTTP status, texts its message. From the drivers' own code and from failures recorded in tests/hook/refusals.json. A
 * sign that is mistaken costs one forced refresh and one more read. `ended`: the service closed a connection that a log-in
 * opened, and the driver will open another: the same token may do.
 * @typedef {{codes?: (string | number)[], texts?: RegExp[], ended?: (string | number)[]}} Signs
 */
/** @type {Signs} of any driver */
const SIGNS = { codes: [401], texts: [/authentication failed|\bunauthori[sz]ed\b|\b(status|code|HTTP)\W{0,3}(code\W{0,2})?401\b|token (has )?(expired|is invalid)|invalid (oauth )?(access )?token/i] };
/** @type {Signs} invalid_password and invalid_authorization_specification (PostgreSQL, appendix A) */
const POSTGRES_SIGNS = { codes: ['28P01', '28000'] };
/** @type {Signs} the client keeps the body of the 401 ("JWT expired 2267 milliseconds ago ...") and forgets the status; what fails in a statement has no such beginning */
const TRINO_SIGNS = { texts: [/^execution error:.*\b(JWT|claim|credentials|authentication)\b/i, /^Connection test failed: 401\b/] };
/** @type {Record<string, Signs>} */
const SIGNS_BY_TYPE = {
  postgres: POSTGRES_SIGNS,
  redshift: POSTGRES_SIGNS,
  trino: TRINO_SIGNS,
  prestodb: TRINO_SIGNS,
  // snowflake-sdk, lib/constants/gs_errors.js: wrong password; session invalid, gone; its master token or ID token ended; OAuth token invalid, expired; and a JWT (Snowflake's documentation)
  // and its 407002: what a driver hears of a session that ended, whatever ended it
  snowflake: { codes: ['390100', '390104', '390111', '390114', '390144', '390195', '390303', '390318'], ended: [407002] },
  // AUTHENTICATION_FAILED, REQUIRED_PASSWORD, WRONG_PASSWORD; the driver before 1.7 keeps no code
  clickhouse: { codes: ['516', '194', '193'], texts: [/^(Query|Connection check) failed: Error: [^\n]+?: Authentication failed: password is incorrect/] },
  bigquery: { texts: [/invalid authentication credentials|\binvalid credentials\b/i] },
  // an ended OAuth token is a 403 there; "API error" is the driver's own connection test, which keeps the status text alone
  'databricks-jdbc': { texts: [/HTTP (response|error|request failed by) code: 40[13]/i, /^Databricks API error: (Unauthorized|Forbidden)$/] },
};
const ROLE_REFUSED = '390317'; // Snowflake: the role that was asked for is not one that the token's scope allows

module.exports = { ROLE_REFUSED, SIGNS, SIGNS_BY_TYPE };

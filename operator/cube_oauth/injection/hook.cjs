/**
 * The hook: per-user credentials for an unmodified Cube project.
 *
 * The resolver (our sidecar) writes this file and the folder hook/ into a shared memory volume, and Cube preloads it with
 * NODE_OPTIONS=--require. It speaks to the resolver over a unix socket (docs/reference/protocols.md), fills
 * `securityContext.cubeCloud` as the documentation of per-user OAuth describes it, and exchanges live drivers when a
 * token rotates, or the service account in Cube's environment. Without dependencies, because it is loaded before and
 * beside whatever the image contains.
 *
 * Each file has one task, and requires only files that stand below it here:
 *
 *   start            in which of the container's processes the hook is at work
 *   internals        what it touches inside Cube
 *   configuration    Cube's configuration with the credentials of each caller
 *     contexts       the security context of a request
 *     generated      the documented driver_factory, where the configuration has none
 *   maker            plans and opens real drivers, of a person or of the service account
 *   live             what Cube holds as one driver; exchanges the real one behind it
 *     statements     what is asked of a warehouse, and what may be asked a second time
 *   opened           one real driver, and what runs on it
 *   refusals         what a driver's error means
 *     signs          how warehouses refuse a log-in, as data
 *     redaction      takes tokens out of errors
 *   account          the service account, in Cube's environment
 *   people           what is known about people
 *     socket         the resolver's end of it
 *   identity         whose a context of Cube's is
 *   credentials      one answer of the resolver
 *   caller           who asks, by the claims that Cube verified
 *   log, errors, settings, basics
 *
 * Rules that they keep:
 * - A credential comes from the resolver only. What a caller's token says under `cubeCloud` never reaches a driver.
 * - Without an answer of the resolver a person's request fails. The hook does not know then whether the person's data
 *   source falls back to the service account, and rows read through other eyes than yesterday's, unannounced, are
 *   worse than an error. (The resolver itself serves from memory while the broker is away.)
 * - A driver belongs to one identity for its whole life: the person and the sign-ins (grants) that it was made for.
 * - Tokens are not enumerable where Cube may serialise them, and are taken out of the errors that drivers throw.
 */
'use strict';

const { isMainThread } = require('node:worker_threads');
const { install } = require('./hook/start.cjs');

if (isMainThread) install();

'use strict';

// What is asked of the warehouse, beside every async function: these return promises without being one.
const ASKS = new Set(['query', 'stream', 'streamQuery', 'downloadQueryResults', 'downloadTable', 'unload', 'unloadFromQuery',
  'isUnloadSupported', 'tablesSchema', 'getSchemas', 'getTablesForSpecificSchemas', 'getColumnsForSpecificTables', 'getTablesQuery',
  'createSchemaIfNotExists', 'loadPreAggregationIntoTable', 'dropTable', 'uploadTable', 'uploadTableWithIndexes', 'tableColumnTypes',
  'queryColumnTypes', 'createTable', 'testConnection']);
// What may be asked a second time: it reads, or its statement does.
const READS = new Set(['testConnection', 'tablesSchema', 'tableColumnTypes', 'queryColumnTypes']);
const RUNS_STATEMENT = new Set(['query', 'stream', 'downloadQueryResults']);
const READING_STATEMENT = /^(\s|\(|--[^\n]*\n|\/\*.*?\*\/)*(SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|VALUES)\b/is;
const WRITES_WITHIN = /\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b/i; // WITH x AS (INSERT ...), SELECT ... INTO
const isRead = (/** @type {string} */ name, /** @type {any} */ statement) => (
  READS.has(name) || (RUNS_STATEMENT.has(name) && READING_STATEMENT.test(statement) && !WRITES_WITHIN.test(statement)));
const AsyncFunction = (async () => {}).constructor;

module.exports = { ASKS, AsyncFunction, isRead };

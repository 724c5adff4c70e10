// A stand-in for the compiled half of @cubejs-backend/native, for tests only.
//
// Cube's npm packages download that half (a file called index.node) from outside the registries when they are installed.
// Tests do without: this folder is put in place *as a folder* called index.node, and the package's own JavaScript loads
// it unchanged. REST, GraphQL and WebSocket need little of it: loggers and the formatting of results. Whatever else Cube
// calls (the SQL API's Postgres wire, Tesseract, Jinja) refuses by name. A user's own Cube image has the real thing, and
// nothing of this reaches the product.
'use strict';

const { finalResult, finalResults } = require('./results');
const { loadPythonConfig } = require('./python');
const { openSqlProbe } = require('./sql-probe');

const standIn = {
  // "fallback build" is Cube's own word for an add-on without Python; a test may name a Python to run cube.py with
  isFallbackBuild: () => !process.env.CUBE_NATIVE_PYTHON,
  pythonLoadConfig: (content, { fileName }) => loadPythonConfig(fileName),

  setupLogger() {},
  resetLogger() {},
  redactSqlLiterals: (sql) => String(sql).replace(/'(?:[^']|'')*'/g, "'redacted'"),

  // made for every model with a YAML file, used only by one with a template in it
  newJinjaEngine: () => ({
    loadTemplate() {},
    renderTemplate() { throw new Error('Jinja templates are not in the stand-in for the native add-on'); },
  }),

  registerInterface: openSqlProbe,
  shutdownInterface: async (server) => { server.close(); },

  getFinalQueryResult: async (transform, rows, root) => finalResult(transform, rows, root),
  getFinalQueryResultMulti: async (transforms, rows, root) => finalResults(transforms, rows, root),
};

module.exports = new Proxy(standIn, {
  get(target, name) {
    if (name in target || typeof name === 'symbol') return target[name];
    return () => { throw new Error(`${name}() is not in the stand-in for the native add-on`); };
  },
});

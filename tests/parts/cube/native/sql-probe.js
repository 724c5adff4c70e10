// The SQL API's Postgres wire is native and not here; its JavaScript half (checkSqlAuth, meta, sqlApiLoad ...) can be
// called over HTTP instead: POST {"fn": "checkSqlAuth", "extra": {...}} to the port CUBE_NATIVE_SQL_PROBE. The rows of a
// stream are answered when it is over; one that breaks off is answered with its error.
'use strict';

const http = require('http');
const { rowsOf } = require('./results');

function readable(answer) {
  if (answer && answer.isWrapper) return { rows: answer.getRawData().map(rowsOf) };
  return { result: typeof answer === 'string' && answer ? JSON.parse(answer) : answer };
}

async function openSqlProbe(functions) {
  const port = Number(process.env.CUBE_NATIVE_SQL_PROBE);
  if (!port) throw new Error('the SQL API is not in the stand-in for the native add-on');
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { fn, extra } = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    const answer = (content) => response.end(JSON.stringify(content));
    const streamed = [];
    functions[fn](JSON.stringify(extra), {
      resolve: (result) => answer(readable(result)),
      reject: (error) => answer({ error: String(error) }),
      start() {},
      chunk(rows, next) { streamed.push(...rowsOf(rows)); next(null); },
      end(next) { answer({ rows: streamed }); next(null); },
    });
  });
  return server.listen(port, '127.0.0.1');
}

module.exports = { openSqlProbe };

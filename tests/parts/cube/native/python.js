// cube.py, run by bridge.py in a Python of its own (CUBE_NATIVE_PYTHON); the real add-on embeds one.
// One JSON line asks, one answers: {id, fn, args} -> {id, result} or {id, error}. The first line says what the file defines.
'use strict';

const { spawn } = require('child_process');
const path = require('path');
const readline = require('readline');

const camelCase = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

function loadPythonConfig(fileName) {
  const child = spawn(process.env.CUBE_NATIVE_PYTHON, [path.join(__dirname, 'bridge.py'), fileName], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting = new Map();
  let lastId = 0;
  const call = (fn) => (...args) => new Promise((resolve, reject) => {
    lastId += 1;
    waiting.set(lastId, { resolve, reject });
    child.stdin.write(`${JSON.stringify({ id: lastId, fn, args })}\n`);
  });
  const answered = ({ id, result, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(result);
  };
  return new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('cube.py did not load')));
    const lines = readline.createInterface({ input: child.stdout });
    lines.once('line', (definitions) => {
      lines.on('line', (line) => answered(JSON.parse(line)));
      resolve(Object.fromEntries(Object.entries(JSON.parse(definitions)).map(
        ([name, definition]) => [camelCase(name), definition === true ? call(name) : definition.value],
      )));
    });
  });
}

module.exports = { loadPythonConfig };

// SIGUSR2: collects garbage and writes how many bytes of the heap are in use to HEAP_FILE.
'use strict';

const { renameSync, writeFileSync } = require('node:fs');
const v8 = require('node:v8');
const vm = require('node:vm');
const { isMainThread } = require('node:worker_threads');

if (isMainThread && process.env.HEAP_FILE) {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc');
  process.on('SIGUSR2', () => {
    for (let i = 0; i < 3; i++) collect();
    writeFileSync(`${process.env.HEAP_FILE}.new`, String(process.memoryUsage().heapUsed));
    renameSync(`${process.env.HEAP_FILE}.new`, process.env.HEAP_FILE);
  });
}

// Folds logs as the console does, and compares with what the service made of the same records.
// Each line of the file that is named: {records: [...], answers: [[how many records, what GET /state answers then], ...]}

import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

import { CHANGES, fold, nothing, plain, read } from '../../console/fold.js';

const told = (state) => JSON.parse(JSON.stringify({ head: state.head, state: plain(state) }));
const orders = ({ runs, suspects }) => [Object.keys(runs), Object.keys(suspects)];

function compare({ records, answers }) {
  const log = records[0].hash.slice(0, 16);
  const beginning = nothing(log);
  const whole = told(fold(beginning, records));
  for (const [count, answer] of answers) {
    const then = fold(beginning, records.slice(0, count));
    assert.deepStrictEqual(told(then), { head: answer.head, state: answer.state }, `after ${count} records`);
    assert.deepStrictEqual(orders(told(then).state), orders(answer.state), `the orders after ${count} records`);
    const rest = records.slice(count);
    assert.deepStrictEqual(told(fold(read(answer), rest)), whole, `from ${count} records on`);
    // Pure: nothing that was handed out before has changed since.
    assert.deepStrictEqual(told(then), { head: answer.head, state: answer.state }, `${count} records, later`);
    assert.deepStrictEqual(told(rest.reduce((state, record) => fold(state, [record]), then)), whole, 'one by one');
  }
  assert.deepStrictEqual(told(beginning), told(nothing(log)), 'the beginning, later');
}

for await (const line of createInterface({ input: createReadStream(process.argv[2]) })) compare(JSON.parse(line));
console.log(JSON.stringify([...CHANGES.keys()].sort()));

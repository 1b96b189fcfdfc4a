import assert from 'node:assert/strict';
import test from 'node:test';

import { matcher } from '../../console/filter.js';

const record = {
  seq: 7, ts: '2026-05-01T12:00:00.000000Z', kind: 'action_fail', actor: 'system', alertname: 'ApiDown', rule: 'restart',
  labels: { job: 'api', severity: 'Critical' }, detail: { error: 'No space left', plan: { argv: ['/bin/hidden'] }, signature: 'c0ffee' },
  prev: 'feed', hash: 'beef',
};
const matches = (words) => matcher(words)(record);

test('all words must be there, anywhere, in any case', () => {
  for (const words of ['', '  ', 'apidown', 'SPACE left', 'critical action_fail', '7']) assert.ok(matches(words), words);
  for (const words of ['apidown webdown', 'nowhere']) assert.ok(!matches(words), words);
});

test('what nobody looks for does not match: the chain, and the plan with every word of every step', () => {
  for (const words of ['feed', 'beef', 'hidden', 'c0ffee']) assert.ok(!matches(words), words);
});

test('field=value is exact, of a field or a label; a minus turns a word around', () => {
  for (const words of ['kind=action_fail', 'job=api', 'labels.job=api', '-webdown', '-job=web', '-']) assert.ok(matches(words) || words === '-', words);
  for (const words of ['kind=action', 'job=API', '-apidown', '-kind=action_fail', 'constructor=x', 'toString=x']) assert.ok(!matches(words), words);
});

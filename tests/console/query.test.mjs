import assert from 'node:assert/strict';
import test from 'node:test';

import { choices, place, pointed, quoted } from '../../console/query.js';
import { path, seen } from '../../console/seen.js';

test('what comes next follows from what stands before the caret', () => {
  const all = [
    ['', 'field', '', 0, ''],
    ['ki', 'field', '', 0, 'ki'],
    ['kind ', 'operator', 'kind', 5, ''],
    ['kind=', 'value', 'kind', 5, ''],
    ['kind=action_', 'value', 'kind', 5, 'action_'],
    ['kind=action_ok ', 'join', 'kind', 15, ''],
    ['kind=action_ok a', 'join', 'kind', 15, 'a'],
    ['kind=action_ok AND ', 'field', 'kind', 19, ''],
    ['NOT (kind=a OR ru', 'field', 'kind', 15, 'ru'],
    ['NOT ', 'field', '', 4, ''],
    ['(kind=a) ', 'join', 'kind', 9, ''],
    ['kind in ', 'list', 'kind', 8, ''],
    ['kind IN (', 'value', 'kind', 9, ''],
    ['kind IN (a, b', 'value', 'kind', 12, 'b'],
    ['kind IN (a, b) ', 'join', 'kind', 15, ''],
    ['run EXISTS ', 'join', 'run', 11, ''],
    ['rule="two wo', 'value', 'rule', 5, '"two wo'],
    ['labels."any na', 'field', '', 0, 'labels."any na'],
    ['labels."any name"~', 'value', 'labels."any name"', 18, ''],
    ['detail.exit_code>=', 'value', 'detail.exit_code', 18, ''],
    ['rule="a=b OR (" OR ', 'field', 'rule', 19, ''],
  ];
  for (const [text, wanted, field, from, typed] of all) assert.deepEqual(place(text), { wanted, field, from, typed }, text);
});

const nothing = () => [];
const texts = (before, known = nothing) => choices(place(before), known).map(({ puts }) => puts);

test('fields, operators, values and joins are offered in their places', () => {
  assert.deepEqual(texts('ki'), ['kind=']);
  assert.deepEqual(texts('kind '), ['=', '!=', '~', '>=', '>', '<=', '<', 'IN (', 'EXISTS']);
  assert.deepEqual(texts('kind=heal', (field) => (field === 'kind' ? ['action_ok', 'heal_failed', 'heal_confirmed'] : [])), ['heal_failed', 'heal_confirmed']);
  assert.deepEqual(texts('kind=a '), ['AND ', 'OR ', 'AND NOT ']);
  assert.deepEqual(texts('job', (field) => (field === 'labels.' ? ['job', 'a job'] : [])), ['labels.job=', 'labels."a job"=']);
  assert.ok(texts('').includes('labels.') && texts('').length === 19);
});

test('what begins as written comes before what only has it in it', () => {
  assert.deepEqual(texts('target=1', () => ['db-1', '1-web', 'x']), ['1-web', 'db-1']);
});

test('a value is quoted where it must be', () => {
  const all = ['restart-api', 'two words', 'AND', 'a=b', '"', '<img src=x>', 'é'];
  assert.deepEqual(all.map(quoted), ['restart-api', '"two words"', '"AND"', '"a=b"', '"\\""', '"<img src=x>"', 'é']);
});

test('the mark stands at the column, in characters', () => {
  assert.deepEqual(pointed('kind=a b=c', 8), { before: 'kind=a ', mark: 'b', after: '=c', caret: 7 });
  assert.deepEqual(pointed('😀😀=x', 3), { before: '😀😀', mark: '=', after: 'x', caret: 4 });
  assert.deepEqual(pointed('kind=', 6), { before: 'kind=', mark: ' ', after: '', caret: 5 });
  const { before, after } = pointed('x'.repeat(500), 250);
  assert.deepEqual([before.length, after.length], [41, 40]);
});

test('values are those of the records, and what the vocabulary has', () => {
  const records = [
    { kind: 'x', rule: 'b', labels: { job: 'api', 'any name': 'n' }, detail: { exit_code: 3, plan: { 'a.b': true } } },
    { kind: 'x', rule: 'b', labels: { job: 'web' } },
  ];
  assert.deepEqual([...seen('rule', records, ['a'])], ['a', 'b']);
  assert.deepEqual([...seen('labels.job', records)], ['api', 'web']);
  assert.deepEqual([...seen('labels."any name"', records)], ['n']);
  assert.deepEqual([...seen('labels.', records)], ['job', 'any name']);
  assert.deepEqual([...seen('detail.exit_code', records)], ['3']);
  assert.deepEqual([...seen('detail.plan."a.b"', records)], ['true']);
  assert.deepEqual([...seen('detail.plan', records)], []);
  assert.deepEqual([...seen('mode', [])], ['off', 'dry_run', 'approve', 'live']);
  assert.ok(seen('kind', []).has('action_ok') && seen('reason', []).has('act'));
});

test('fields that are none, or hostile, have no values', () => {
  for (const field of ['', '__proto__', 'constructor', 'labels.__proto__', 'labels."', 'toString', '.']) {
    assert.deepEqual([...seen(field, [{ kind: 'x', labels: { a: 'b' } }])], [], field);
  }
  assert.deepEqual(path('labels.a.b/c'), ['labels', 'a.b/c']);
});

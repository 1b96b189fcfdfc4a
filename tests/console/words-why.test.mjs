import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { because, hasWords, stance, verdict, waits, why } from '../../console/words-why.js';

const DOCS = readFileSync(new URL('../../docs/why.md', import.meta.url), 'utf8');
const [, DECISIONS, RUNS] = /## Reasons of a decision(.*)## How a run goes on(.*)## What may come twice/s.exec(DOCS);
const rows = (text) => text.split('\n').filter((line) => line.startsWith('| `')).map((line) => line.split('|').slice(1, -1));
const named = (cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name);
const REASONS = rows(DECISIONS).map(([cell]) => named(cell)[0]);

test('each reason of docs/why.md has words', () => {
  assert.equal(REASONS.length, 25);
  const ofRuns = rows(RUNS).flatMap(([, cell]) => named(cell)).filter((name) => !['escalated'].includes(name));
  assert.ok(ofRuns.length > 20);
  assert.deepEqual([...REASONS, ...ofRuns].filter((reason) => !hasWords(reason)), []);
});

test('a guard says what it saw, and without a record why all the same', () => {
  const cooldown = { guard: 'cooldown', passed: false, cooldown: 600, last_action: '2020-05-01T12:00:00.000000Z', until: '2020-05-01T12:10:00.000000Z' };
  assert.match(verdict(cooldown), /^the rule acted on this target at 2020-.*: cooldown until 2020-/);
  assert.equal(why('cooldown', { detail: { guards: [{ guard: 'no_rule', passed: true }, cooldown] } }), verdict(cooldown));
  assert.equal(why('cooldown'), 'the rule has acted on this target a short while ago (cooldown)');
  assert.equal(verdict({ guard: 'budget', passed: false, windows: [{ scope: 'target', used: 3, of: 3, window: 3600 }] }), 'the budget is used up: 3 of 3 runs in 1 h for this target');
  assert.match(verdict({ guard: 'paused', passed: false, rule: null, how: 'file', by: 'system', reason: 'move' }), /^everything is paused by the file PAUSE \(move\), until resumed$/);
  assert.match(verdict({ guard: 'fleet_guard', passed: false, at_most: '10%', population: 20, treated: 3, allowed: 2 }), /^3 of 20 would be .*; 2 may be \(10%\)$/);
  assert.match(verdict({ guard: 'unless', passed: false, errors: ['refused'] }), /nobody knows.*: refused$/);
  assert.deepEqual([verdict({ guard: 'budget', passed: false }), verdict({ guard: 'budget', passed: true })], [because('budget'), 'budget'], 'as another version wrote it');
  assert.match(verdict({ guard: 'breaker_open', passed: false, failures: 3, until: '2020-05-01T12:10:00Z', runs: [] }), /3 times in a row: it is tried again at 2020/);
});

test('what passed says so, each with what its record holds', () => {
  const saw = { bad_target: { target: 'api-1' }, budget: { windows: [] }, rule_off: { mode: 'dry_run', demoted: true } };
  const said = REASONS.map((guard) => verdict({ guard, passed: true, ...saw[guard] }));
  assert.ok(said.every((text) => text.length > 8 && !text.includes('[object')));
  assert.equal(said[REASONS.indexOf('rule_off')], 'the mode of the rule is dry run, and it was demoted');
});

test('what follows: it waits, asks, would act, acts or leaves it alone', () => {
  const of = (follows) => REASONS.filter((reason) => stance(reason) === follows);
  assert.deepEqual(of('Leaves it alone'), ['disabled', 'no_rule', 'protected', 'bad_target', 'rule_off', 'run_ended']);
  assert.deepEqual(['Would act', 'Asks people', 'Acts'].map(of), [['dry_run', 'hold_out'], ['awaiting_approval'], ['act']]);
  assert.ok(of('Waits').length === 15 && of('Waits').every(waits));
});

test('a reason that is new, or a hostile one, is spoken as it is', () => {
  assert.deepEqual(['full_moon', 'constructor', '', undefined].map(because), ['full moon', 'constructor', '', 'nobody knows']);
  assert.equal(verdict({ guard: '__proto__', passed: false }), '  proto  ');
  assert.match(verdict({ guard: 'not_yet', passed: false, for: 5, until: 1e300 }), /a time that no calendar has/);
});

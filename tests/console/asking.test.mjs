import assert from 'node:assert/strict';
import test from 'node:test';

import { answer, answered, atWork, caused, standing, stepLine, words } from '../../console/asking.js';
import { nothing } from '../../console/fold.js';
import { count, waiting } from '../../console/waiting.js';

const approval = { expires_at: 900, requested_at: 0, by: null, observed: null };
const run = (id, changes = {}) => ({
  id, rule: 'r', target: 't', state: 'awaiting_approval', approval, step: 0, reason: null, ended_by: null,
  plan: { steps: [{ action: 'command', params: {} }] }, caused_by: 'alertmanager', ...changes,
});
const state = (...runs) => ({ ...nothing(), runs: new Map(runs.map((one) => [one.id, one])), working: new Map(runs.map(({ id }) => [id, 'r'])) });

test('what waits is sorted by when its time is over; what was asked and answered is told newest first', () => {
  const late = run('r3', { approval: { ...approval, expires_at: 901 } });
  const known = state(late, run('r5'), run('r9', { state: 'denied' }), run('r10', { state: 'healed' }), run('r11', { state: 'acting', approval: null }));
  assert.deepEqual(waiting(known).map(({ id }) => id), ['r5', 'r3']);
  assert.deepEqual(answered(known).map(({ id }) => id), ['r10', 'r9']);
  assert.equal(answered(state(...Array.from({ length: 50 }, (_, number) => run(`r${number}`, { state: 'denied' })))).length, 10);
  assert.deepEqual(atWork({ ...known, working: new Map([['r11', 'r'], ['gone', 'r']]) }).map(({ id }) => id), ['r11']);
  // The decision is there and the request is not yet: there is no time, and nothing to answer.
  assert.deepEqual(waiting(state(run('r1', { approval: null }))), []);
  // Of storms those count that hold something.
  const storms = new Map([['a', { held: { f1: 't', f2: 't' } }], ['b', { held: {} }]]);
  assert.equal(count({ state: { ...known, storms } }), 3);
});

test('each answer is told with whose it is', () => {
  const said = (changes) => answer(run('r1', changes));
  assert.equal(said({ state: 'healed', approval: { ...approval, by: 'ann' } }), 'Approved by ann');
  assert.equal(said({ state: 'denied', ended_by: 'bob' }), 'Denied by bob');
  assert.equal(said({ state: 'expired', reason: 'expired' }), 'Nobody answered in time');
  assert.equal(said({ state: 'cancelled', reason: 'human_present' }), 'Void: a person is at it');
  assert.equal(said({ state: 'cancelled', reason: 'cancelled', ended_by: 'eve' }), 'Void: cancelled, by eve');
});

test('each state of a run is told in words, with its step', () => {
  const told = (name, changes = {}) => standing(run('r1', { state: name, ...changes }));
  assert.equal(told('planned'), 'about to begin');
  assert.match(told('planned', { step: 1 }), /did not help/);
  assert.equal(told('acting', { step: 1 }), 'step 1 of 1 is under way');
  assert.equal(told('escalated', { reason: 'steps_exhausted', plan: null }), 'left to people: steps exhausted');
  assert.equal(told('cancelled', { reason: 'budget' }), 'did not act: budget');
  assert.equal(told('dry_run', { reason: 'dry_run' }), 'dry run');
});

test('the words of people are found by run', () => {
  const ts = '2026-05-01T12:00:00.500000Z';
  const found = words([
    { seq: 1, ts, kind: 'approval_granted', actor: 'ann', run: 'r1', detail: { comment: 'go' } },
    { seq: 2, ts, kind: 'approval_denied', actor: 'ann', run: 'r2' },
    { seq: 3, ts, kind: 'approval_requested', actor: 'system', run: 'r3' },
  ]);
  assert.deepEqual([...found], [['r1', { ts: 1777636800.5, comment: 'go' }], ['r2', { ts: 1777636800.5, comment: '' }]]);
});

test('whoever caused a run is not to approve it; who has no name caused nothing by it', () => {
  assert.ok(caused(run('r1', { caused_by: 'ann' }), 'ann'));
  assert.ok(!caused(run('r1', { caused_by: 'bob' }), 'ann'));
  for (const nobody of ['local', 'alertmanager', 'system']) assert.ok(!caused(run('r1', { caused_by: nobody }), nobody));
});

test('a step is one line whatever it holds', () => {
  assert.equal(stepLine({ action: 'command', params: { argv: ['/bin/x', 'a b'], env: {}, timeout: null } }), 'command · argv: /bin/x a b');
  for (const params of [null, undefined, 7, { a: [null, { b: 1 }] }]) assert.equal(typeof stepLine({ action: 'x', params }), 'string');
});

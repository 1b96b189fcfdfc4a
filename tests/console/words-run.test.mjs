import assert from 'node:assert/strict';
import test from 'node:test';

import { length, told } from '../../console/words-record.js';
import { described, ladder, promised, standing } from '../../console/words-run.js';

const STEP = { action: 'command', params: { argv: ['/opt/fix', 'a b'], timeout: 30, env: { A: '1' } }, verify: { resolved_within: 300, probe: null } };
const run = (state, more = {}) => ({ state, step: 1, reason: null, approval: null, ended_by: null, acted_at: 1000, action_ok: true, plan: { steps: [STEP, STEP] }, ...more });
const record = (kind, more = {}) => ({ seq: 1, ts: '2026-05-01T12:00:00.000000Z', kind, actor: 'ann', detail: {}, ...more });

test('a step is said in one line, words that hold spaces or quotes as JSON', () => {
  assert.equal(described(STEP), 'command: /opt/fix "a b"');
  assert.equal(described({ action: 'docker', params: { restart: 'api-1', host: null, timeout: 60 } }), 'docker: restart api-1');
  assert.equal(described({ action: 'http', params: { method: null, url: 'http://x/', body: 'secret' } }), 'http: http://x/');
});

test('what tells whether it helped: all that verify names', () => {
  assert.equal(promised(STEP.verify), 'the alert ends within 5 min');
  const probe = { tcp: 'db:5432', within: 60, stable: 30 };
  assert.equal(promised({ resolved_within: 60, probe }), 'the alert ends within 1 min, and the tcp probe db:5432 holds within 1 min and goes on to for 30 s');
  assert.match(promised({ resolved_within: null, probe: { http: { url: 'http://x' }, within: 60, stable: 0 } }), /^the http probe http:\/\/x holds within 1 min$/);
});

test('the ladder: what did not help, what is under way, what is to come', () => {
  assert.deepEqual(ladder(run('acting', { step: 2 }), 3), ['failed', 'now', 'next']);
  assert.deepEqual(ladder(run('verifying'), 2), ['watched', 'next']);
  assert.deepEqual(ladder(run('verifying', { action_ok: false }), 1), ['failed']);
  assert.deepEqual(ladder(run('healed', { step: 2 }), 2), ['failed', 'healed']);
  assert.deepEqual(ladder(run('escalated'), 1), ['failed']);
  assert.deepEqual(ladder(run('cancelled'), 2), ['done', 'spared']);
  assert.deepEqual(ladder(run('planned', { step: 0 }), 1), ['next']);
});

test('where a run stands, whom it waits for, and its deadline', () => {
  const approval = { expires_at: 2000, by: null };
  assert.deepEqual(standing(run('awaiting_approval', { approval })), { text: 'Waits for somebody to approve it', until: 2000 });
  assert.equal(standing(run('planned', { step: 0, approval: { by: 'ann' } })).text, 'Approved by ann, begins when there is room');
  assert.equal(standing(run('planned', { reason: 'not_resolved' })).text, 'Step 1 of 2 did not help: the alert did not end in time. Step 2 comes next');
  const began = { step: 1, ts: '1970-01-01T00:16:40.000000Z' };
  assert.deepEqual(standing(run('acting'), began), { text: 'Does step 1 of 2', until: 1030 });
  assert.deepEqual(standing(run('acting', { step: 2 }), began), { text: 'Does step 2 of 2' });
  assert.deepEqual(standing(run('verifying')), { text: 'Watches whether step 1 of 2 has helped: the alert ends within 5 min', until: 1300 });
  assert.equal(standing(run('cancelling', { ended_by: 'bob', reason: 'cancelled' })).text, 'Is being ended as bob asked');
  assert.equal(standing(run('cancelled', { ended_by: 'bob', reason: 'cancelled', plan: null })).text, 'Cancelled: an operator has cancelled it (bob)');
  assert.equal(standing(run('escalated', { reason: 'steps_exhausted', plan: null })).text, 'Left to people: no step of the ladder is left');
});

test('records as sentences, those of people with their words', () => {
  assert.equal(told(record('approval_granted', { detail: { comment: 'go' } })), 'ann approves it: go');
  assert.equal(told(record('action_fail', { step: 2, detail: { error: 'exit code 1', duration_ms: 1500 } })), 'Step 2 failed after 1.5 s: exit code 1');
  assert.equal(told(record('decision', { reason: 'no_rule' })), 'Leaves it alone: no rule is for this alert');
  assert.equal(told(record('cancel_requested', { reason: 'resolved' })), 'It is to end, because the alert has');
  assert.equal(told(record('constructor')), 'constructor');
  assert.deepEqual([0.0123, 4.56, 61].map(length), ['12 ms', '4.6 s', '1 min 1 s']);
});

test('who was told, and who could not be', () => {
  assert.equal(told(record('notified', { detail: { channel: 'alertmanager', alert: 'AutohealFailed' } })), 'Alertmanager has taken the alert AutohealFailed');
  assert.equal(told(record('notified', { detail: { channel: 'pagerduty', of: ['12-0'] } })), 'pagerduty has been told');
  assert.equal(told(record('notify_failed', { detail: { channel: 'slack', of: ['12-0'], error: 'answered 404' } })), 'slack could not be told: answered 404');
});

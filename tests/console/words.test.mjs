import assert from 'node:assert/strict';
import test from 'node:test';

import { tone } from '../../console/tones.js';
import { gist, utcs } from '../../console/words.js';

const record = (kind, more = {}) => ({ seq: 1, ts: '2026-05-01T12:00:00.000000Z', kind, actor: 'system', ...more });

test('a failure is one whatever the mode; a dry run is one by kind, mode or reason', () => {
  const tones = [
    record('action_fail'), record('escalated', { mode: 'dry_run' }), record('action_dry_run'), record('decision', { mode: 'dry_run' }),
    record('decision', { reason: 'dry_run' }), record('heal_confirmed'), record('alert_firing'), record('something_new'),
  ].map(tone);
  assert.deepEqual(tones, ['failure', 'failure', 'dry', 'dry', 'dry', 'success', 'other', 'other']);
});

test('the gist is the reason, what went on, until when and by whom, in one line', () => {
  assert.equal(gist(record('decision', { reason: 'awaiting_approval' })), 'awaiting approval');
  assert.equal(gist(record('action_fail', { detail: { exit_code: 3 } })), 'exit code 3');
  assert.equal(gist(record('action_fail', { detail: { exit_code: 3, error: 'a\n b' } })), 'a b');
  assert.equal(gist(record('alert_firing', { annotations: { summary: 'down' }, detail: { how: 'webhook' } })), 'down');
  assert.match(gist(record('paused', { actor: 'ann', detail: { reason: 'x', until: '2020-01-01T00:00:00.000000Z' } })), /^x · until \d{4}-\d\d-\d\d .* · by ann$/);
  assert.equal(gist(record('login')), '');
});

test('what people were told, and what they let go, is named', () => {
  assert.equal(gist(record('notified', { detail: { channel: 'alertmanager', alert: 'AutohealFailed' } })), 'AutohealFailed');
  assert.equal(gist(record('notified', { detail: { channel: 'slack', of: ['12-0'] } })), 'slack');
  assert.equal(gist(record('notify_failed', { detail: { channel: 'slack', of: ['12-0'], error: 'answered 404' } })), 'answered 404');
  assert.equal(gist(record('rerun_requested', { actor: 'ann', detail: { comment: 'the disk is in' } })), 'the disk is in · by ann');
  assert.match(gist(record('ack_old', { detail: { matchers: 'a="b"', ends_at: '2020-01-01T00:00:00.000000Z' } })), /^a="b" · until /);
});

test('of a self-test the checks that failed are named', () => {
  const checks = { alert: { ok: true, text: 'x' }, keys: { ok: false, text: 'y' }, clock: { ok: null, text: 'z' }, disk: { ok: false, text: '' }, odd: null };
  assert.equal(gist(record('selftest_fail', { detail: { checks } })), 'keys, disk');
  assert.equal(gist(record('selftest_ok', { detail: { checks: { alert: { ok: true } } } })), '');
  assert.equal(gist(record('selftest_fail', { detail: { checks: 'hostile' } })), '');
});

test('what is told of times has them as the log has them, for whoever rests there', () => {
  assert.equal(utcs({ since: '2026-05-01T12:00:00.5Z', until: '2026-05-01T13:00:00Z', ends_at: 7 }), '2026-05-01T12:00:00Z, 2026-05-01T13:00:00Z');
  assert.deepEqual([utcs(undefined), utcs({}), utcs({ until: null, since: '7d' })], [null, null, null]);
});

test('hostile fields neither break it nor make it long', () => {
  assert.equal(gist(record('config_rejected', { detail: { faults: ['y'.repeat(5000)] } })).length, 201);
  for (const odd of [null, 7, {}, [], [{}]]) {
    assert.equal(typeof gist(record('action_fail', { detail: { error: odd, faults: odd, reason: odd, until: odd } })), 'string');
  }
});

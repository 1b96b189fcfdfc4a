import assert from 'node:assert/strict';
import test from 'node:test';

import { compare, median, rate, tally, wilson } from '../../console/rates.js';

const near = (found, wanted) => found.forEach((number, index) => assert.ok(Math.abs(number - wanted[index]) < 5e-4, `${found}`));

test('the interval is that of the literature, and stays within 0 and 1', () => {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
  near(wilson(81, 263), [0.2553, 0.3662]);
  near(wilson(15, 148), [0.0624, 0.1605]);
  near(wilson(0, 20), [0, 0.1611]);
  near(wilson(1, 29), [0.0061, 0.1718]);
  near(wilson(20, 20), [0.8389, 1]);
});

test('a rate says of how many it is, and nothing of none', () => {
  assert.equal(rate(0, 0), 'none');
  assert.equal(rate(1, 1), '1 of 1 · 100 % (21 to 100 %)');
});

let seq = 0;
const record = (kind, more) => ({ seq: ++seq, ts: '2026-05-01T12:00:00.000000Z', kind, actor: 'system', rule: 'r', run: `r${seq}`, ...more });

test('runs are counted by how they ended; hold-outs are no dry runs, and who never acted was not judged', () => {
  const found = tally([
    record('heal_confirmed'), record('heal_confirmed'), record('escalated', { step: 2 }), record('escalated'),
    record('action_dry_run', { reason: 'dry_run' }), record('action_dry_run', { reason: 'hold_out' }),
    // A storm as a whole, another rule, and what ends no run.
    record('escalated', { run: undefined }), record('heal_confirmed', { rule: 'constructor' }), record('action_ok'),
  ]);
  assert.deepEqual(found.get('r'), { healed: 2, left: 1, stopped: 1, dry: 1, heldOut: 1 });
  assert.equal(found.get('constructor').healed, 1);
  assert.equal(found.size, 2);
});

const at = (minute) => `2026-05-01T12:${String(minute).padStart(2, '0')}:00.000000Z`;

test('the middle one of an even number is the greater; of none there is none', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([Infinity, 4, 1, Infinity]), Infinity);
  assert.ok(Number.isNaN(median([])));
});

test('episodes are compared from their first decision to their end; those that were both are neither', () => {
  const decisions = [
    record('decision', { episode: 'a', reason: 'act', ts: at(0) }), record('decision', { episode: 'b', reason: 'awaiting_approval', ts: at(0) }),
    // People approved it: still one episode, from when it was decided first.
    record('decision', { episode: 'b', reason: 'act', ts: at(1) }),
    record('decision', { episode: 'c', reason: 'hold_out', ts: at(0) }), record('decision', { episode: 'd', reason: 'hold_out', ts: at(0) }),
    record('decision', { episode: 'e', reason: 'hold_out', ts: at(0) }), record('decision', { episode: 'e', reason: 'act', ts: at(2) }),
  ];
  const ends = [['a', 2], ['b', 4], ['c', 30], ['e', 3], ['x', 1]].map(([episode, minute]) => record('alert_resolved', { episode, ts: at(minute) }));
  assert.deepEqual(compare(decisions, ends), {
    acted: { n: 2, resolved: 2, median: 240 },
    heldOut: { n: 2, resolved: 1, median: Infinity },
  });
  const backwards = compare(decisions.toReversed(), ends.toReversed());
  assert.deepEqual(backwards, compare(decisions, ends));
});

import assert from 'node:assert/strict';
import test from 'node:test';

import { ceiling, marks, quantile, tally } from '../../console/numbers.js';
import { search } from '../../console/search.js';

const BEGIN = Date.parse('2026-05-01T12:00:00Z') / 1000;
const at = (after, kind, more = {}) => ({ kind, ts: new Date((BEGIN + after) * 1000).toISOString(), ...more });

test('each record counts in its step of time, and a heal tells how long it took from where it began', () => {
  const records = [
    at(10, 'alert_firing', { episode: 'e1' }),
    at(20, 'action_started', { run: 'r1', episode: 'e1' }),
    at(21, 'action_fail', { run: 'r1' }),
    at(22, 'heal_failed', { run: 'r1' }),
    at(70, 'action_started', { run: 'r1', episode: 'e1' }),
    at(71, 'action_ok', { run: 'r1' }),
    at(100, 'heal_confirmed', { run: 'r1', episode: 'e1' }),
    at(110, 'heal_confirmed', { run: 'r0', episode: 'e0' }),
    at(115, 'action_dry_run', { run: 'r2' }),
    at(118, 'escalated', { run: 'r3' }),
    at(119, 'heal_inconclusive', { run: 'r3' }),
  ].reverse();
  const [first, second, ...rest] = tally(records, BEGIN, BEGIN + 119, 60, 0);
  assert.equal(rest.length, 0);
  assert.deepEqual(first, { from: BEGIN, to: BEGIN + 60, alerts: 1, done: 0, failed: 1, dry: 0, healed: 0, unhealed: 1, left: 0, sinceAlert: [], sinceAction: [] });
  assert.deepEqual(second, { from: BEGIN + 60, to: BEGIN + 120, alerts: 0, done: 1, failed: 0, dry: 1, healed: 2, unhealed: 1, left: 1, sinceAlert: [90], sinceAction: [80] });
});

test('steps begin at whole ones of the local clock and reach until now', () => {
  const day = 86_400;
  const slots = tally([], BEGIN - 3 * day, BEGIN, day, 2 * 3600);
  assert.deepEqual(slots.map(({ from }) => new Date(from * 1000).toISOString().slice(5, 16)), ['04-27T22:00', '04-28T22:00', '04-29T22:00', '04-30T22:00']);
});

test('what lies before the first step counts nowhere, but is where a heal began', () => {
  const records = [at(100, 'heal_confirmed', { run: 'r', episode: 'e' }), at(-50, 'alert_firing', { episode: 'e' })];
  const [slot] = tally(records, BEGIN, BEGIN + 119, 120, 0);
  assert.deepEqual([slot.alerts, slot.sinceAlert], [0, [150]]);
});

test('quantiles are values that were there', () => {
  assert.deepEqual([quantile([], 0.5), quantile([7], 0.5), quantile([10, 9, 1, 2], 0.5), quantile([3, 1, 2], 0.5), quantile([1, 2], 1)], [null, 7, 2, 2, 2]);
});

test('scales end at numbers that people read', () => {
  assert.deepEqual([0, 1, 2, 3, 7, 11, 200, 201, 999].map(ceiling), [1, 1, 2, 5, 10, 20, 200, 500, 1000]);
  assert.deepEqual(marks([5]), [1, 10]);
  assert.deepEqual(marks([0.5, 90]), [0.1, 1, 10, 60, 600]);
  assert.deepEqual(marks([1]), [1, 10]);
  assert.deepEqual(marks([30 * 86_400]), [7 * 86_400, 30 * 86_400]);
});

test('a search that stops early goes on by itself, so often and no more', async () => {
  const asked = [];
  const pages = [{ records: [{ seq: 9 }], next: 9, partial: true, unread: [{ first: 1, last: 2, why: 'x' }] }, { records: [], next: 5, partial: true, unread: [{ first: 1, last: 2, why: 'x' }] }, { records: [{ seq: 4 }], next: null, partial: false }];
  const answer = async (path, given) => asked.push([path, given.n, given.before]) && structuredClone(pages[asked.length - 1]);
  const whole = await search({ q: 'a', before: '20' }, 3, 5, answer);
  assert.deepEqual(asked, [['/audit', 3, '20'], ['/audit', 2, '9'], ['/audit', 2, '5']]);
  assert.deepEqual([whole.records.length, whole.next, whole.stopped, whole.unread.length], [2, null, false, 1]);
  asked.length = 0;
  const cut = await search({}, 3, 2, answer);
  assert.deepEqual([asked.length, cut.next, cut.stopped], [2, '5', true]);
});

test('a full page is not one that stopped', async () => {
  const found = await search({}, 1, 5, async () => ({ records: [{ seq: 3 }], next: 3, partial: false }));
  assert.deepEqual([found.next, found.stopped], ['3', false]);
});

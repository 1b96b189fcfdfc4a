import assert from 'node:assert/strict';
import test from 'node:test';

import { covers, holding } from '../../console/acks.js';
import { cards, failureWords, telling, tryable } from '../../console/cards.js';
import { nothing } from '../../console/fold.js';

const episode = (number, more = {}) => ({
  id: `e${number}`, fingerprint: `f${number}`, labels: { alertname: `A${number}` }, annotations: {}, opened_at: number, decisions: {}, runs: {}, ran: [], released: {}, ...more,
});
const run = (id, number, state, more = {}) => ({ id, episode: `e${number}`, fingerprint: `f${number}`, rule: 'r', target: 't', state, step: 1, ...more });
const decided = (reason) => ({ decisions: { r: { reason, target: 't', mode: 'live', plan_digest: null } } });

/** The keys of each group of such a state. */
function grouped(episodes, changes = {}) {
  const state = { ...nothing(), episodes: new Map(episodes.map((one) => [one.fingerprint, one])), ...changes };
  return Object.fromEntries(Object.entries(cards(state)).map(([name, some]) => [name, some.map(({ key }) => key)]));
}
const runs = (...some) => ({ runs: new Map(some.map((one) => [one.id, one])) });

test('each alert stands where it needs a person most, the newest first', () => {
  const episodes = [
    episode(1, decided('no_rule')), episode(2, decided('cooldown')), episode(3, { ...decided('act'), runs: { r: 'r3' } }),
    episode(4, { ...decided('awaiting_approval'), runs: { r: 'r4' } }), episode(5, decided('dry_run')), episode(6, decided('paused')), episode(7),
  ];
  const found = grouped(episodes, runs(run('r3', 3, 'acting'), run('r4', 4, 'awaiting_approval')));
  assert.deepEqual(found, { people: ['e4'], work: ['e3'], waits: ['e7', 'e6', 'e2'], left: ['e5', 'e1'] });
});

test("the service's test of itself is no alert that fires", () => {
  const found = grouped([episode(1, { ...decided('dry_run'), labels: { alertname: 'AutohealSelfTest' } }), episode(2, decided('dry_run'))]);
  assert.deepEqual(found, { people: [], work: [], waits: [], left: ['e2'] });
});

test('failures that were left to people stand first, storms next', () => {
  const failure = { r: { run: 'r1', rule: 'r', reason: 'steps_exhausted', told: null } };
  const storms = new Map([['r', { began_at: 5, over: false, held: { f3: 't' } }], ['s', { began_at: 5, over: true, held: {} }]]);
  const episodes = [episode(1, { ...decided('act'), ran: ['r'] }), episode(2, decided('awaiting_approval')), episode(3, decided('storm'))];
  const found = grouped(episodes, { failures: new Map([['f1', failure]]), storms, ...runs(run('r1', 1, 'escalated')) });
  assert.deepEqual(found, { people: ['e1', 'storm r', 'e2'], work: [], waits: ['e3'], left: [] });
});

test('a run whose alert has ended is under way until it has ended too', () => {
  assert.deepEqual(grouped([], runs(run('r9', 9, 'verifying'), run('r8', 8, 'healed'))).work, ['r9']);
});

test('a rule that has had its turn leaves the alert alone, and may be let try again once', () => {
  const over = { ...decided('act'), ran: ['r'] };
  const state = { ...nothing(), episodes: new Map([['f1', episode(1, over)]]), ...runs(run('r1', 1, 'healed')) };
  const { left } = cards(state);
  assert.equal(left[0].lines[0].run.id, 'r1');
  assert.equal(tryable(left[0], left[0].lines[0]).id, 'r1');
  const again = { ...left[0], episode: episode(1, { ...over, runs: { r: 'r2' } }) };
  assert.equal(tryable(again, left[0].lines[0]), null);
  assert.equal(tryable({ ...left[0], episode: null }, left[0].lines[0]), null);
});

test('a failure says why, and whether anybody has heard', () => {
  assert.equal(failureWords({ reason: 'steps_exhausted', told: 'notified' }), 'Left to people: no step of the ladder is left. Alertmanager has been told.');
  assert.match(failureWords({ reason: 'silenced', told: 'notify_failed' }), /has not taken that yet\.$/);
});

test('the labels that tell alerts apart come first, at most four', () => {
  const labels = { alertname: 'A', zone: 'z', abc: '1', job: 'j', severity: 'page', instance: 'i' };
  assert.deepEqual(telling(labels).map(([name]) => name), ['severity', 'instance', 'job', 'abc']);
});

test('an acknowledgement holds until its time is over', () => {
  const silences = new Map([['a', { id: 'a', ends_at: 20 }], ['b', { id: 'b', ends_at: 10 }], ['c', { id: 'c', ends_at: 15 }]]);
  assert.deepEqual(holding({ ...nothing(), silences }, 10).map(({ id }) => id), ['c', 'a']);
});

test('it covers the alerts of its labels, whatever is in them', () => {
  const labels = { alertname: 'Disk', path: 'a"b\\c\nж, x="1"', 'a b': 'c' };
  assert.ok(covers('alertname="Disk", path="a\\"b\\\\c\\nж, x=\\"1\\"", "a b"="c", none=""', labels));
  assert.ok(covers('alertname="Disk", job!="api"', labels));
  for (const other of ['alertname="Dis"', 'alertname!="Disk"', 'alertname="Disk", constructor!=""', '', 'x', 'alertname="Disk" x', 'alertname=~"(a+)+"']) assert.ok(!covers(other, labels), other);
});

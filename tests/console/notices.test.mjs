import assert from 'node:assert/strict';
import test from 'node:test';

import { nothing } from '../../console/fold.js';
import { notices } from '../../console/notices.js';
import { Store } from '../../console/store.js';

const FINE = { version: '1', status: 'ok', enabled: true, dry_run: false, oidc: true, warnings: [] };

/** What is told of such a gateway at 1000, to an operator unless said otherwise. */
function told(changes = {}, state = {}, role = 'operator') {
  const store = new Store(() => {});
  Object.assign(store, { connection: { status: 'live', heard: 1000 }, overview: FINE, version: '1', who: { role } }, changes);
  Object.assign(store.state, nothing(), state);
  return notices(store, 1000);
}
const titles = (found) => found.map(({ weight, title }) => `${weight}: ${title}`);
const pause = (changes = {}) => ({ rule: null, how: 'api', actor: 'ann', reason: 'deploying', since: 990, until: null, ...changes });

test('of a gateway that works as it should there is nothing to tell', () => assert.deepEqual(told(), []));

test('each thing that keeps it from acting, or the page from knowing, is told; the gravest first', () => {
  const overview = { ...FINE, status: 'unavailable', enabled: false, dry_run: true, oidc: false, warnings: ['Mind the gap.'] };
  const found = told({ overview, connection: { status: 'down', heard: 940, why: 'Gone.' } }, { space_low: true, pauses: [pause()] });
  assert.deepEqual(titles(found), [
    'stop: No connection to the gateway.',
    'stop: The audit log cannot be written.',
    'stop: The disk of the audit log is nearly full.',
    'stop: Everything is paused.',
    'care: Warning.',
    'care: Switched off.',
    'note: Dry run.',
    'note: No login.',
  ]);
  assert.match(found[0].text, /^Gone\. Last heard at .*: what you see is from then\. Trying again\.$/);
});

test('a pause is told while it lasts, with who, why and until when', () => {
  const [all, rule] = told({}, { pauses: [pause(), pause({ rule: 'r', until: 1060 }), pause({ rule: 'q', until: 1000 })] });
  assert.match(all.text, /^deploying, by ann, since .*, until resumed$/);
  assert.deepEqual([all.resume, rule.resume, rule.title], [null, 'r', 'Rule r is paused.']);
  assert.match(rule.text, /until .*\d:/);
  assert.deepEqual([all.hover, rule.hover], ['1970-01-01T00:16:30Z', '1970-01-01T00:16:30Z, 1970-01-01T00:17:40Z']);
});

test('a viewer is not offered to resume, and nobody what only the file can', () => {
  assert.ok(!('resume' in told({}, { pauses: [pause()] }, 'viewer')[0]));
  const [file] = told({}, { pauses: [pause({ how: 'file', reason: 'PAUSE is there' })] });
  assert.ok(!('resume' in file));
  assert.match(file.text, /remove it to resume/);
});

test('that Alertmanager is silent is told once, with what the gateway knows more of it', () => {
  const warnings = ['No Alertmanager takes the alerts that autoheal raises.', 'No alert for which a holds (AUTOHEAL_WATCHDOG) has come.'];
  const [silent, ...others] = told({ overview: { ...FINE, warnings } }, { watchdog_missing: true });
  assert.deepEqual([silent.weight, silent.text], ['stop', warnings[1]]);
  assert.deepEqual(others.map(({ text }) => text), [warnings[0]]);
  // The log tells it first, and the gateway may tell it first as well.
  assert.match(told({}, { watchdog_missing: true })[0].title, /silent/);
  assert.equal(told({ overview: { ...FINE, warnings } }).length, 2);
});

test('before the gateway has answered nothing is told of it', () => assert.deepEqual(told({ overview: null }), []));

test('a page that cannot go on, or is of another version than the gateway by now, is to be reloaded', () => {
  assert.deepEqual(titles(told({ overview: { ...FINE, version: '2' } })), ['care: The gateway is another version by now.']);
  assert.deepEqual(titles(told({ fault: 'Record 7' })), ['stop: This page has lost its way.']);
});

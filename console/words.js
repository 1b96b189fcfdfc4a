// Records in words.

import { h } from './dom.js';
import { local, present, seconds, utc } from './time.js';

/** @import { Entry, Fields } from './fold.js' */

const LONGEST = 200;

/** Where the words of the vocabulary alone would say too little. */
export const SAID = new Map(
  Object.entries({
    ack_old: 'acknowledgement still stands',
    notify_failed: 'notification failed',
    acked: 'acknowledged',
    alert_disputed: 'end disputed',
    alert_undisputed: 'fires all the same',
    disputed: 'its end is disputed',
    fleet_guard: 'too much of the fleet',
    hold_out: 'held out, to compare',
    human_present: 'a person is at it',
    in_progress: 'another run goes on',
    low_space: 'too little disk space',
    no_rule: 'no rule for it',
    run_ended: 'its run has ended',
    selftest_ok: 'self-test passed',
    selftest_fail: 'self-test failed',
  }),
);

/** A word of the vocabulary as people say it. @param {string} word */
export const spoken = (word) => SAID.get(word) ?? word.replaceAll('_', ' ');

/** Who has no name worth telling. */
const NOBODY = ['system', 'alertmanager'];

/** What a record says beside its subject, in one line; empty when that is nothing. @param {Entry} record */
export function gist({ kind, reason, actor, annotations, detail = {} }) {
  const { description, error, problem, comment, faults, matchers } = detail;
  const texts = [description, error, problem, detail.reason, comment, faults?.[0], matchers, detail.alert, detail.of && detail.channel, failed(detail.checks)];
  const code = typeof detail.exit_code === 'number' ? `exit code ${detail.exit_code}` : null;
  const ends = detail.until ?? detail.expires_at ?? (/^silence|^ack_old/.test(kind) ? detail.ends_at : undefined);
  const parts = [
    reason && spoken(String(reason)),
    texts.find((text) => typeof text === 'string' && text) ?? code,
    kind === 'alert_firing' && (annotations?.summary ?? annotations?.description),
    typeof ends === 'string' && `until ${local(seconds(ends), present())}`,
    !NOBODY.includes(actor) && `by ${actor}`,
  ];
  const line = parts.filter(Boolean).join(' · ').replace(/\s+/g, ' ');
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}

/** The checks of a self-test that failed. @param {unknown} checks */
function failed(checks) {
  const all = checks && typeof checks === 'object' ? Object.entries(/** @type {Record<string, Fields>} */ (checks)) : [];
  return all.filter(([, check]) => check?.ok === false).map(([name]) => name).join(', ');
}

/** The times in what a record tells, as the log has them: for whoever rests on its words. @param {Fields | undefined} detail @returns {string | null} */
export function utcs(detail) {
  const told = ['since', 'last_action', 'until', 'expires_at', 'ends_at'].map((name) => detail?.[name]);
  // Details are of many kinds: not each of these words stands for a time there.
  return told.filter((text) => typeof text === 'string').map(seconds).filter(Number.isFinite).map(utc).join(', ') || null;
}

/** A time as people there have it; the log's own on hover. @param {number} ts epoch seconds */
export function time(ts) {
  return h('time', { datetime: utc(ts), title: utc(ts) }, local(ts, present()));
}

const FIELDS = [
  'seq', 'ts', 'kind', 'alertname', 'fingerprint', 'episode', 'rule', 'target', 'run', 'step', 'mode', 'reason', 'actor',
  'correlation_id',
];

/** All that a record holds. @param {Entry} record */
export function whole(record) {
  const own = FIELDS.filter((name) => record[name] !== undefined).map((name) => [name, record[name]]);
  return h(
    'div',
    { class: 'whole' },
    pairs('Record', Object.fromEntries(own)),
    pairs('Labels', record.labels),
    pairs('Annotations', record.annotations),
    record.detail && h('section', {}, h('h3', {}, 'Detail'), h('pre', { tabindex: 0, role: 'group', 'aria-label': 'Detail' }, JSON.stringify(record.detail, null, 2))),
  );
}

/** @param {string} title @param {Fields | undefined} fields */
function pairs(title, fields) {
  const rows = Object.entries(fields ?? {});
  if (rows.length === 0) return null;
  const shown = rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, String(value))]);
  return h('section', {}, h('h3', {}, title), h('dl', {}, ...shown));
}

/** Local time of a record. @param {Entry} record */
export const when = (record) => time(seconds(record.ts));

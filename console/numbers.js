// What came of alerts, counted by time.

import { seconds } from './time.js';

/** @import { Entry } from './fold.js' */

/** What is counted: all that a request needs to ask for. */
export const COUNTED =
  'kind IN (alert_firing, action_started, action_ok, action_fail, action_dry_run, heal_confirmed, heal_failed, heal_inconclusive, escalated) ' +
  'AND alertname!=AutohealSelfTest';

/** Lengths of time that are offered, each with the step of its pictures; seconds. */
export const SPANS = /** @type {const} */ ({
  '1h': { name: '1 hour', length: 3600, step: 120 },
  '6h': { name: '6 hours', length: 6 * 3600, step: 600 },
  '24h': { name: '24 hours', length: 24 * 3600, step: 1800 },
  '7d': { name: '7 days', length: 7 * 86_400, step: 4 * 3600 },
  '30d': { name: '30 days', length: 30 * 86_400, step: 86_400 },
});

/**
 * @typedef {object} Slot one step of time; seconds
 * @property {number} from @property {number} to
 * @property {number} alerts that began to fire
 * @property {number} done @property {number} failed @property {number} dry actions, by how they ended
 * @property {number} healed @property {number} unhealed verdicts: the alert went away, or it did not or nobody knows
 * @property {number} left to people
 * @property {number[]} sinceAlert from when it fired, and
 * @property {number[]} sinceAction from when the first action began, to when it was healed
 */

const FIELD = /** @type {Record<string, 'alerts' | 'done' | 'failed' | 'dry' | 'healed' | 'unhealed' | 'left'>} */ ({
  alert_firing: 'alerts', action_ok: 'done', action_fail: 'failed', action_dry_run: 'dry', heal_confirmed: 'healed',
  heal_failed: 'unhealed', heal_inconclusive: 'unhealed', escalated: 'left',
});

/** @param {number} from @param {number} to @returns {Slot} */
const empty = (from, to) => ({ from, to, alerts: 0, done: 0, failed: 0, dry: 0, healed: 0, unhealed: 0, left: 0, sinceAlert: [], sinceAction: [] });

/**
 * Records by steps of time that begin at whole ones of the local clock. Times to heal stand where they ended; those whose
 * beginning is not among the records are not known. @param {Entry[]} records newest first
 * @param {number} from @param {number} now @param {number} step seconds @param {number} offset of the local clock, seconds
 */
export function tally(records, from, now, step, offset) {
  const first = Math.floor((from + offset) / step) * step - offset;
  const slots = Array.from({ length: Math.floor((now - first) / step) + 1 }, (_, index) => empty(first + index * step, first + (index + 1) * step));
  /** @type {Map<string, number>} */
  const began = new Map();
  for (const record of records.toReversed()) {
    const ts = seconds(record.ts);
    const slot = slots[Math.floor((ts - first) / step)];
    if (record.kind === 'alert_firing') began.set(`alert ${record.episode}`, ts);
    if (record.kind === 'action_started' && !began.has(`run ${record.run}`)) began.set(`run ${record.run}`, ts);
    const field = FIELD[record.kind];
    if (!slot || !field) continue;
    slot[field] += 1;
    if (record.kind !== 'heal_confirmed') continue;
    const [alert, action] = [began.get(`alert ${record.episode}`), began.get(`run ${record.run}`)];
    if (alert !== undefined) slot.sinceAlert.push(ts - alert);
    if (action !== undefined) slot.sinceAction.push(ts - action);
  }
  return slots;
}

/** The smallest of them that at least this share does not exceed (nearest rank); null of none. @param {number[]} all @param {number} share */
export function quantile(all, share) {
  const sorted = all.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}

/** The next number from which on people read a scale: 1, 2, 5, 10, 20 … @param {number} most */
export function ceiling(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 5, 10].map((times) => times * power).find((limit) => limit >= most) ?? 10 * power;
}

/** Where a scale of times is marked, seconds. */
const MARKS = [0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

/** The marks around these times: as few as hold all of them. @param {number[]} times not empty */
export function marks(times) {
  const [least, most] = [Math.min(...times), Math.max(...times)];
  const low = Math.min(Math.max(0, MARKS.findLastIndex((mark) => mark <= least)), MARKS.length - 2);
  const high = MARKS.findIndex((mark) => mark >= most);
  return MARKS.slice(low, Math.max(high === -1 ? MARKS.length : high + 1, low + 2));
}

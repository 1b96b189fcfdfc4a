// What became of a rule's runs, in numbers that say how sure they are.

import { seconds } from './time.js';

/** @import { Entry } from './fold.js' */

/** The standard normal's 97.5 % quantile. */
const Z = 1.959964;

/**
 * The 95 % interval of a share by k successes of n (Wilson, 1927): unlike the plain one it is right for few, and at 0 and 1.
 * @param {number} k @param {number} n more than 0 @returns {[number, number]}
 */
export function wilson(k, n) {
  const share = k / n;
  const middle = share + (Z * Z) / (2 * n);
  const half = Z * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  const whole = 1 + (Z * Z) / n;
  return [Math.max(0, (middle - half) / whole), Math.min(1, (middle + half) / whole)];
}

const percent = (/** @type {number} */ share) => Math.round(share * 100);

/** A share in words. @param {number} k @param {number} n */
export function rate(k, n) {
  if (n === 0) return 'none';
  const [low, high] = wilson(k, n);
  return `${k} of ${n} · ${percent(k / n)} % (${percent(low)} to ${percent(high)} %)`;
}

/**
 * @typedef {object} Tally of a rule's runs
 * @property {number} healed @property {number} left to people, after at least one action
 * @property {number} stopped left to people before any @property {number} dry @property {number} heldOut
 */

/** @type {Readonly<Tally>} */
export const NONE = { healed: 0, left: 0, stopped: 0, dry: 0, heldOut: 0 };

/** The kinds by which runs are counted: those that end them. */
export const ENDS = ['heal_confirmed', 'escalated', 'action_dry_run'];

/** How the runs ended, by rule. @param {Iterable<Entry>} records each once @returns {Map<string, Tally>} */
export function tally(records) {
  /** @type {Map<string, Tally>} */
  const found = new Map();
  for (const { kind, rule, run, step, reason } of records) {
    // Of a storm as a whole people are told as well, without a run.
    if (rule === undefined || run === undefined || !ENDS.includes(kind)) continue;
    const of = found.get(rule) ?? { ...NONE };
    found.set(rule, of);
    if (kind === 'heal_confirmed') of.healed += 1;
    else if (kind === 'escalated') of[step ? 'left' : 'stopped'] += 1;
    else of[reason === 'hold_out' ? 'heldOut' : 'dry'] += 1;
  }
  return found;
}

/** @typedef {{n: number, resolved: number, median: number}} Group `median` in seconds until resolved; Infinity when fewer than half are */

/**
 * Episodes that were acted on beside those that were left alone, from the decision to the alert's end. An episode that
 * was both, after a reload with another share, is neither.
 *
 * @param {Entry[]} decisions of one rule @param {Entry[]} ends `alert_resolved` @returns {{acted: Group, heldOut: Group}}
 */
export function compare(decisions, ends) {
  /** @type {Map<string, {ts: number, held: boolean, both: boolean}>} */
  const episodes = new Map();
  for (const { episode, reason, ts: text } of decisions) {
    const held = reason === 'hold_out';
    const known = episodes.get(episode);
    const ts = Math.min(known?.ts ?? Infinity, seconds(text));
    episodes.set(episode, { ts, held, both: known !== undefined && (known.both || known.held !== held) });
  }
  const ended = new Map(ends.map(({ episode, ts }) => [episode, seconds(ts)]));
  const group = (/** @type {boolean} */ held) => {
    const times = [...episodes].filter(([, one]) => !one.both && one.held === held).map(([id, { ts }]) => (ended.get(id) ?? Infinity) - ts);
    return { n: times.length, resolved: times.filter(Number.isFinite).length, median: median(times) };
  };
  return { acted: group(false), heldOut: group(true) };
}

/** The middle one, of an even number the greater of the two: it may be endless. NaN of none. @param {number[]} numbers */
export const median = (numbers) => [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? NaN;

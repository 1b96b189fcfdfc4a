// A rule of `GET /rules` in words.

import { duration, lasts, local, seconds } from './time.js';
import { spoken } from './words.js';

/** @import { Fields } from './fold.js' */

/** @typedef {{text: string, weight: '' | 'care' | 'stop' | 'good', why?: string}} Chip */

/** How far the rule may go now, and what keeps it from going. @param {Fields} rule @param {Fields[]} pauses @param {number} now @returns {Chip[]} */
export function chips({ name, mode, state }, pauses, now) {
  /** @type {Chip[]} */
  const found = [{ text: spoken(state.mode), weight: state.mode === 'live' ? 'good' : '', why: modeOf(mode, state) }];
  const pause = pauses.find(({ rule, until }) => rule === name && lasts(until, now));
  if (pause) found.push({ text: 'paused', weight: 'care', why: `${pause.reason}, by ${pause.actor}` });
  if (state.breaker_open_since !== null) found.push({ text: 'breaker open', weight: 'stop' });
  if (state.demoted) found.push({ text: 'demoted', weight: 'stop' });
  if (state.storm_since !== null) found.push({ text: 'storm', weight: 'stop' });
  if (state.held > 0) found.push({ text: `${state.held} held`, weight: 'care' });
  if (spentOut(state)) found.push({ text: 'budget used up', weight: 'care' });
  return found;
}

/** @param {Fields} state */
const spentOut = ({ budget }) => [...budget.target, ...budget.rule].some(({ used, count }) => used >= count);

/** @param {string} mode its own @param {Fields} state @returns {string} */
function modeOf(mode, { mode: now, demoted }) {
  if (mode === now) return `${spoken(mode)}, as its file says`;
  return `${spoken(now)}: its file says ${spoken(mode)}, but ${demoted ? 'it is demoted' : 'AUTOHEAL_DRY_RUN is on'}`;
}

/** What the rule is, less what it leaves as it is by default. @param {Fields} rule @returns {[string, string][]} */
export function facts(rule) {
  /** @type {[string, string | false | null][]} */
  const rows = [
    ['For', rule.match],
    ['Mode', modeOf(rule.mode, rule.state)],
    ['Steps', rule.steps.join(', then ')],
    ['Waits', rule.for > 0 && `until it has fired for ${duration(rule.for)}`],
    ['Cooldown', `${duration(rule.cooldown)} for each target`],
    ['Rollout', rule.rollout < 100 && `${rule.rollout} % of episodes; the rest is left alone, to compare`],
    ['Approval', rule.mode === 'approve' && `expires after ${duration(rule.approval.expires)}`],
    ['Unless', rule.unless.join('; ')],
    ['Freeze', rule.freeze.join('; ')],
    ['Fleet', rule.fleet && `at most ${rule.fleet.at_most} of ${rule.fleet.of}`],
    ['At a time', rule.concurrency !== null && `${rule.concurrency}`],
  ];
  return rows.flatMap(([name, text]) => (text ? [[name, text]] : []));
}

/** What guards remember. @param {Fields} rule @param {Fields[]} all the budget of all rules together @param {number} now @returns {[string, string, string?][]} with the time in the text as the log has it */
export function guards({ breaker, storm, state }, all, now) {
  const { target, rule } = state.budget;
  return [
    ['Breaker', breaker ? breakerOf(breaker, state, now) : 'none', state.breaker_open_since ?? undefined],
    ['Storm', storm ? stormOf(storm, state, now) : 'off', state.storm_since ?? undefined],
    ...windows('Budget of a target', target, (each) => (each.target === null ? '' : `, most on ${each.target}`)),
    ...windows('Budget of the rule', rule),
    ...windows('Budget of all rules', all),
  ];
}

/** @param {Fields} breaker @param {Fields} state @param {number} now */
function breakerOf({ failures, reset }, state, now) {
  const demoted = state.demoted ? `; demoted to ${spoken(state.mode)}` : '';
  if (state.breaker_open_since === null) return `closed, ${state.failures} of ${failures} failures in a row${demoted}`;
  return `open since ${local(seconds(state.breaker_open_since), now)}; ${duration(reset)} after the last failure one run tries again${demoted}`;
}

/** @param {Fields} storm @param {Fields} state @param {number} now */
function stormOf({ count, seconds: span }, { storm_since: since, held }, now) {
  const limit = `more than ${count} targets in ${duration(span)}`;
  const holds = held ? `, ${held} held` : '';
  return since === null ? `none (${limit})${holds}` : `since ${local(seconds(since), now)} (${limit})${holds}`;
}

/** @param {string} name @param {Fields[]} all @param {(window: Fields) => string} [more] @returns {[string, string][]} */
const windows = (name, all, more = () => '') =>
  all.map((each) => [name, `${each.used} of ${each.count} in ${duration(each.seconds)}${more(each)}`]);

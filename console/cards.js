// What Now shows, by how much it needs a person: a pure function of the state.

import { SELF_TEST } from './fold-runs.js';
import { because, waits } from './words-why.js';
import { ended } from './words-run.js';

/** @import { Fields, State } from './fold.js' */

/**
 * @typedef {object} Line what one rule does about an alert
 * @property {string} rule
 * @property {Fields | null} failure @property {Fields | null} run @property {Fields | null} decision
 *
 * @typedef {object} Card an alert that fires (`episode`), a run whose alert has ended, or what a storm holds
 * @property {string} key @property {number} since
 * @property {Fields | null} episode @property {Line[]} lines
 * @property {{rule: string, storm: Fields, held: number} | null} storm
 *
 * @typedef {'people' | 'work' | 'waits' | 'left'} Group
 */

/** In the order in which they stand. @type {Record<Group, string>} */
export const GROUPS = { people: 'Needs a person', work: 'Under way', waits: 'Waiting', left: 'Left alone' };

/** The cards of each group, the newest first; of those who need a person, failures first. @param {State} state @returns {Record<Group, Card[]>} */
export function cards(state) {
  /** @type {Record<Group, Card[]>} */
  const found = { people: [], work: [], waits: [], left: [] };
  const tried = newestRuns(state);
  for (const [fingerprint, episode] of state.episodes) {
    // It is over before anybody could read it.
    if (episode.labels.alertname === SELF_TEST) continue;
    const lines = linesOf(state, episode, state.failures.get(fingerprint) ?? {}, tried);
    found[group(lines)].push({ key: episode.id, since: episode.opened_at, episode, lines, storm: null });
  }
  for (const run of state.runs.values()) {
    if (ended(run) || state.episodes.get(run.fingerprint)?.id === run.episode) continue;
    const lines = [{ rule: run.rule, failure: null, run, decision: null }];
    found.work.push({ key: run.id, since: run.created_at, episode: null, lines, storm: null });
  }
  for (const [rule, storm] of state.storms) {
    const held = Object.keys(storm.held).length;
    if (held) found.people.push({ key: `storm ${rule}`, since: storm.began_at, episode: null, lines: [], storm: { rule, storm, held } });
  }
  for (const some of Object.values(found)) some.sort((one, other) => urgency(other) - urgency(one) || other.since - one.since);
  return found;
}

/** The newest run of each rule on each episode that fires. @param {State} state @returns {Map<string, Fields>} */
function newestRuns(state) {
  const found = new Map();
  for (const run of state.runs.values()) found.set(`${run.episode} ${run.rule}`, run);
  return found;
}

/** @param {State} state @param {Fields} episode @param {Fields} failures @param {Map<string, Fields>} tried @returns {Line[]} */
function linesOf(state, episode, failures, tried) {
  const rules = new Set([...Object.keys(failures), ...Object.keys(episode.runs), ...Object.keys(episode.decisions)]);
  return [...rules].map((rule) => {
    const decision = episode.decisions[rule] ?? null;
    const open = state.runs.get(episode.runs[rule]) ?? null;
    const failure = Object.hasOwn(failures, rule) ? failures[rule] : null;
    // Of a run that is over its end says more than the decision that began it, or that there is one no more.
    const over = failure || episode.ran.includes(rule) || ['dry_run', 'hold_out'].includes(decision?.reason);
    return { rule, failure, run: open ?? (over ? (tried.get(`${episode.id} ${rule}`) ?? null) : null), decision };
  });
}

/** @param {Line[]} lines @returns {Group} */
function group(lines) {
  if (lines.some(needsPerson)) return 'people';
  if (lines.some(({ run }) => run && !ended(run))) return 'work';
  return lines.length === 0 || lines.some(({ decision }) => decision && (waits(decision.reason) || decision.reason === 'act')) ? waiting(lines) : 'left';
}

/** A rule that has had its turn waits for nothing. @param {Line[]} lines @returns {Group} */
const waiting = (lines) => (lines.length && lines.every(({ run }) => run && ended(run)) ? 'left' : 'waits');

/** @param {Line} line */
const needsPerson = ({ failure, run, decision }) =>
  failure !== null || run?.state === 'awaiting_approval' || (run === null && decision?.reason === 'awaiting_approval');

/** @param {Card} card */
const urgency = ({ lines, storm }) => (lines.some(({ failure }) => failure) ? 2 : storm ? 1 : 0);

/** The run of a line that may be tried again: it is over, and its alert still fires. @param {Card} card @param {Line} line @returns {Fields | null} */
export function tryable({ episode }, { rule, failure, run }) {
  if (!episode || !episode.ran.includes(rule) || Object.hasOwn(episode.runs, rule)) return null;
  return failure ? { id: failure.run, rule } : run && ended(run) && run.state !== 'dry_run' ? run : null;
}

/** What people are told of a failure. @param {Fields} failure */
export function failureWords({ reason, told }) {
  const heard = { notified: ' Alertmanager has been told.', notify_failed: ' Alertmanager has not taken that yet.' }[String(told)] ?? '';
  return `Left to people: ${because(reason)}.${heard}`;
}

const FIRST = ['severity', 'instance', 'service', 'job', 'namespace', 'cluster'];
const SHOWN = 4;

/** The labels that tell alerts apart, the most telling first. @param {Record<string, string>} labels @returns {[string, string][]} */
export function telling(labels) {
  const place = (/** @type {string} */ name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return Object.entries(labels)
    .filter(([name]) => name !== 'alertname')
    .sort(([one], [other]) => place(one) - place(other) || (one < other ? -1 : 1))
    .slice(0, SHOWN);
}

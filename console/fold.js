// The state: a pure fold of the log's records, by the same rules as the service's (autoheal/state).
//
// `fold` changes no state that it was given: it copies each table once a call, and replaces the entries that change, so
// whoever keeps an entry (but a storm) can tell by its identity whether it still stands. Tables are Maps: names in them are hostile.

import { ALERTS } from './fold-alerts.js';
import { GUARDS } from './fold-guards.js';
import { PEOPLE } from './fold-people.js';
import { RUNS } from './fold-runs.js';
import { seconds } from './time.js';

/**
 * @typedef {{[name: string]: any}} Fields
 * @typedef {Fields & {seq: number, ts: string, kind: string, actor: string}} Entry one record, as its line has it
 * @typedef {object} State what docs/api.md tells of `GET /state`
 * @property {{seq: number, ts: number, log: string}} head
 * @property {Map<string, Fields>} episodes by fingerprint
 * @property {Map<string, Fields>} suspects
 * @property {Map<string, Fields>} runs by id, oldest first
 * @property {string[]} ended_runs
 * @property {Map<string, string>} locks
 * @property {Map<string, string>} working
 * @property {boolean} space_low
 * @property {boolean} watchdog_missing
 * @property {Map<string, Fields>} failures runs left to people, by fingerprint, then by rule
 * @property {Map<string, Fields>} breakers by rule
 * @property {Map<string, Fields>} storms by rule
 * @property {Fields[]} pauses
 * @property {Map<string, Fields>} silences by id
 * @property {number[]} silence_requests
 */

/**
 * What a kind changes; a kind that is not here only moves the head.
 * @type {ReadonlyMap<string, (state: State, record: Entry) => void>}
 */
export const CHANGES = new Map(Object.entries({ ...ALERTS, ...RUNS, ...GUARDS, ...PEOPLE }));

const TABLES = /** @type {const} */ ([
  'episodes', 'suspects', 'runs', 'locks', 'working', 'breakers', 'storms', 'silences', 'failures',
]);
const LISTS = /** @type {const} */ (['ended_runs', 'pauses', 'silence_requests']);

/** The state after further records, oldest first. @param {State} state @param {Iterable<Entry>} records @returns {State} */
export function fold(state, records) {
  const next = copy(state);
  for (const record of records) {
    next.head = { seq: record.seq, ts: seconds(record.ts), log: state.head.log };
    CHANGES.get(record.kind)?.(next, record);
  }
  return next;
}

/** Before the first record. @param {string} [log] the log's id @returns {State} */
export const nothing = (log = '') => read({ head: { seq: 0, ts: 0, log }, state: {} });

/** The state of an answer of `GET /state`. @param {Fields} answer @returns {State} */
export function read({ head, state }) {
  const known = /** @type {any} */ ({ head, space_low: state.space_low ?? false, watchdog_missing: state.watchdog_missing ?? false });
  for (const name of TABLES) known[name] = new Map(Object.entries(state[name] ?? {}));
  for (const name of LISTS) known[name] = state[name] ?? [];
  return known;
}

/** The `state` of an answer of `GET /state`, of a state. @param {State} state @returns {Fields} */
export function plain(state) {
  const { head: _, ...told } = /** @type {Fields} */ (state);
  for (const name of TABLES) told[name] = Object.fromEntries(told[name]);
  return told;
}

/** @param {State} state @returns {State} */
function copy(state) {
  const next = /** @type {any} */ ({ ...state });
  for (const name of TABLES) next[name] = new Map(/** @type {Map<string, any>} */ (state[name]));
  for (const name of LISTS) next[name] = [...state[name]];
  // A storm holds thousands, and each record of it would copy them all: once a call is enough.
  for (const [rule, storm] of state.storms) next.storms.set(rule, { ...storm, held: { ...storm.held } });
  return next;
}

// Runs that wait for people, and what people made of them. Pure: state and records in, words out.

import { seconds } from './time.js';
import { spoken } from './words.js';

/** @import { Entry, Fields, State } from './fold.js' */

/** How many runs that were decided on are told of. */
const TOLD = 10;
/** Actors that are no identity: whoever they are, one is not another's. */
const NOBODY = ['system', 'alertmanager', 'local'];

/** The live runs that go on and wait for nobody. @param {State} state @returns {Fields[]} */
export const atWork = (state) => [...state.working.keys()].flatMap((id) => state.runs.get(id) ?? []);

/** The newest runs for which people were asked and need not be any more, newest first. @param {State} state @returns {Fields[]} */
export function answered(state) {
  const asked = [...state.runs.values()].filter(({ state: stands, approval }) => approval && stands !== 'awaiting_approval');
  return asked.sort((one, other) => Number(other.id.slice(1)) - Number(one.id.slice(1))).slice(0, TOLD);
}

/** Whether this person caused the run, so that somebody else must approve it. @param {Fields} run @param {string} subject */
export const caused = (run, subject) => run.caused_by === subject && !NOBODY.includes(subject);

/** What became of the asking. @param {Fields} run @returns {string} */
export function answer({ state, approval, ended_by: by, reason }) {
  if (approval.by !== null) return `Approved by ${approval.by}`;
  if (state === 'denied') return `Denied by ${by ?? 'somebody'}`;
  if (state === 'expired') return 'Nobody answered in time';
  return `Void${reason ? `: ${spoken(reason)}` : ''}${by ? `, by ${by}` : ''}`;
}

/** Where a run stands. @param {Fields} run @returns {string} */
export function standing({ state, step, plan, reason }) {
  const of = plan ? ` of ${plan.steps.length}` : '';
  const why = reason && reason !== state ? `: ${spoken(reason)}` : '';
  switch (state) {
    case 'planned': return step === 0 ? 'about to begin' : `step ${step}${of} did not help, the next is about to begin`;
    case 'acting': return `step ${step}${of} is under way`;
    case 'verifying': return `step ${step}${of} is done: does it help?`;
    case 'cancelling': return 'being ended';
    case 'escalating':
    case 'escalated': return `left to people${why}`;
    case 'cancelled': return `did not act${why}`;
    default: return `${spoken(state)}${why}`;
  }
}

/** When people spoke on a run and what they said, as far as the newest records tell. @param {Entry[]} records @returns {Map<string, {ts: number, comment: string}>} */
export function words(records) {
  const found = new Map();
  for (const { kind, run, ts, detail } of records) {
    if (run && /^approval_(granted|denied|expired)$/.test(kind)) found.set(run, { ts: seconds(ts), comment: detail?.comment ?? '' });
  }
  return found;
}

/** A step of a plan as it will be executed, in one line. @param {Fields} step */
export function stepLine({ action, params }) {
  const given = Object.entries(params ?? {}).filter(([, value]) => value !== null && JSON.stringify(value) !== '{}');
  return [action, ...given.map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(' ') : text(value)}`)].join(' · ');
}

/** @param {unknown} value */
const text = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

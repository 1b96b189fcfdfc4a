// The records of one run, from the firing of its alert on, whether or not the gateway still lists the run.

import { get } from './api.js';

/** @import { Entry, Fields } from './fold.js' */

/** What of an episode belongs to each of its runs, beside the run's own records. */
const KINDS = ['alert_firing', 'alert_resolved', 'silence_created', 'silence_expired'];
const PAGE = 1000;
/** A search stops after two seconds; so often it is told to go on. */
const PAGES = 5;

/**
 * @typedef {object} History
 * @property {Fields | null} summary as `GET /runs/{id}` has it; null for a run that is too old for it
 * @property {Entry[]} records oldest first @property {boolean} partial whether some may be missing
 */

/** Whether a record tells of a run. @param {Entry} record @param {string} id @param {Fields} about what the run is about */
export const concerns = (record, id, { episode, rule }) =>
  record.run === id ||
  (record.episode === episode && (KINDS.includes(record.kind) || (record.kind === 'decision' && record.rule === rule && record.run === undefined)));

/** Raises Refused. @param {string} id @returns {Promise<History>} */
export async function history(id) {
  /** @type {Fields | null} */
  const summary = await get(`/runs/${encodeURIComponent(id)}`).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  const name = JSON.stringify(id);
  const own = summary ?? (await search(`run=${name}`));
  const first = own.records[0];
  if (!first) return { summary, records: [], partial: own.partial };
  const { episode, rule } = first;
  const others = await search(`episode=${JSON.stringify(episode)} AND (kind IN (${KINDS.join(', ')}) OR (kind=decision AND rule=${JSON.stringify(rule)} AND NOT run EXISTS))`);
  const records = [...own.records, ...others.records].sort((one, other) => one.seq - other.seq);
  return { summary, records, partial: own.partial || others.partial };
}

/** All that a filter finds, oldest first. @param {string} q @returns {Promise<{records: Entry[], partial: boolean}>} */
async function search(q) {
  /** @type {Entry[]} */
  const found = [];
  /** @type {number | undefined} */
  let before;
  for (let page = 0; page < PAGES; page += 1) {
    const { records, next, partial } = await get('/audit', { q, n: PAGE, before });
    found.push(...records);
    if (next === null) return { records: found.reverse(), partial };
    before = next;
  }
  return { records: found.reverse(), partial: true };
}

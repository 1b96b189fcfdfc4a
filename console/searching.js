// Numbers from the log: a bounded number of pages of `/audit`, and how far back they reach.

import { get } from './api.js';

/** @import { Entry } from './fold.js' */

const PAGE = 1000;
const PAGES = 4;

/** @typedef {{records: Entry[], whole: boolean, from: string | null}} Found newest first; `from` is how far back it is whole, where it is not all */

/** What the log holds since then, as far as four pages go. @param {string} q @param {string} since @returns {Promise<Found>} */
export async function search(q, since) {
  /** @type {Entry[]} */
  const records = [];
  let before;
  for (let page = 0; page < PAGES; page += 1) {
    const answer = await get('/audit', { q, since, n: PAGE, before });
    records.push(...answer.records);
    // What is encrypted is missing somewhere, however far one goes.
    if (answer.unread) return { records, whole: false, from: null };
    if (answer.next === null) return { records, whole: true, from: null };
    before = answer.next;
  }
  return { records, whole: false, from: records.at(-1)?.ts ?? null };
}

/** As a value of the query language. @param {string} text */
export const quoted = (text) => JSON.stringify(text);

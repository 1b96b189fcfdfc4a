// A page of a search through the log, put together of as many answers as it takes within reason.

import { get } from './api.js';

/** @import { Entry } from './fold.js' */

/**
 * @typedef {object} Asked
 * @property {string} [q] @property {string} [since] @property {string} [until] @property {string} [before]
 * @typedef {object} Found
 * @property {Entry[]} records newest first
 * @property {string | null} next where to go on, null when there is no more
 * @property {boolean} stopped whether it ended early, with more to look through
 * @property {{first: number | null, last: number | null, why: string}[]} unread what may be missing
 */

/**
 * The newest records that match. The gateway looks for two seconds at a time; it is asked again at most `rounds` times.
 * @param {Asked} asked @param {number} size how many records @param {number} rounds @param {(path: string, given: any) => Promise<any>} [ask]
 * @returns {Promise<Found>}
 */
export async function search({ before, ...asked }, size, rounds, ask = get) {
  /** @type {Found} */
  const found = { records: [], next: before ?? null, stopped: false, unread: [] };
  const unread = new Map();
  for (let round = 0; round < rounds; round += 1) {
    const n = Math.min(5000, size - found.records.length);
    const page = await ask('/audit', { ...asked, n, before: found.next ?? undefined });
    found.records.push(...page.records);
    found.next = page.next === null ? null : String(page.next);
    for (const file of page.unread ?? []) unread.set(JSON.stringify(file), file);
    found.stopped = page.next !== null && found.records.length < size;
    if (!found.stopped) break;
  }
  found.unread = [...unread.values()];
  return found;
}

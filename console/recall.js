// Records that say more than the state does: why a rule waits and until when, and when a step began. The page has the newest
// of them; others are asked for.

import { get } from './api.js';

/** @import { Entry } from './fold.js' */

/** How many are kept; they are asked for again when they are shown again. */
const KEPT = 2000;
/** How many episodes are asked about at a time: so many texts a search looks for at its fastest. */
const AT_ONCE = 8;
const PAGE = 500;

export class Recall {
  /** @type {Map<string, Entry>} */
  #known = new Map();
  /** @type {Set<string>} */
  #asked = new Set();
  #asking = false;
  #seen = 0;
  #told;

  /** @param {() => void} told is called when something has been found */
  constructor(told) {
    this.#told = told;
  }

  /** Learn from the page's own records. @param {Entry[]} records oldest first */
  take(records) {
    for (let index = records.findIndex(({ seq }) => seq > this.#seen); index >= 0 && index < records.length; index += 1) this.#learn(records[index]);
    this.#seen = records.at(-1)?.seq ?? 0;
  }

  /** The newest decision on an episode by a rule, if that is its reason. @param {string} episode @param {string} rule @param {string} reason */
  decision(episode, rule, reason) {
    const found = this.#known.get(`decision ${episode} ${rule}`);
    return found?.reason === reason ? found : undefined;
  }

  /** The beginning of a run's last step. @param {string} run @returns {Entry | undefined} */
  started(run) {
    return this.#known.get(`action_started ${run}`);
  }

  /** Ask about these episodes, each once. @param {string[]} episodes */
  async want(episodes) {
    const wanted = episodes.filter((one) => !this.#asked.has(one)).slice(0, AT_ONCE);
    if (this.#asking || wanted.length === 0) return;
    this.#asking = true;
    for (const one of wanted) this.#asked.add(one);
    try {
      const q = `kind IN (decision, action_started) AND episode IN (${wanted.join(', ')})`;
      const { records } = await get('/audit', { q, n: PAGE });
      for (const record of records.reverse()) this.#learn(record);
    } catch {
      // Then it is said with fewer words.
    }
    this.#asking = false;
    this.#told();
  }

  /** @param {Entry} record */
  #learn(record) {
    const { kind, seq } = record;
    if (kind !== 'decision' && kind !== 'action_started') return;
    const key = kind === 'decision' ? `decision ${record.episode} ${record.rule ?? ''}` : `action_started ${record.run}`;
    if ((this.#known.get(key)?.seq ?? 0) >= seq) return;
    this.#known.delete(key);
    this.#known.set(key, record);
    if (this.#known.size > KEPT) this.#forget();
  }

  #forget() {
    for (const [key, { episode }] of this.#known) {
      if (this.#known.size <= KEPT / 2) break;
      this.#known.delete(key);
      this.#asked.delete(episode);
    }
  }
}

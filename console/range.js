// Which time of the log is asked for: back from now, between two times, or all of it.

import { h } from './dom.js';

/** @typedef {{since?: string, until?: string}} Range as `/audit` takes them */

const PRESETS = [['', 'All of the log'], ['15m', 'The last 15 minutes'], ['1h', 'The last hour'], ['24h', 'The last 24 hours'], ['7d', 'The last 7 days']];
const BETWEEN = 'between';

const pad = (/** @type {number} */ number) => String(number).padStart(2, '0');

/** As an input of a local time has it; empty for what is no time. @param {string | undefined} text RFC 3339 */
export function localInput(text) {
  const date = new Date(text ?? '');
  if (Number.isNaN(date.getTime())) return '';
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day}T${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** The time that somebody has filled in, undefined for none. @param {string} text local */
export const written = (text) => (text === '' ? undefined : `${new Date(text).toISOString().slice(0, 19)}Z`);

export class RangeInput {
  #from = h('input', { type: 'datetime-local', step: 1, id: 'range-from', 'aria-label': 'From' });
  #to = h('input', { type: 'datetime-local', step: 1, id: 'range-to', 'aria-label': 'To' });
  #between;
  #choice;
  #given;

  /** @param {Range} given */
  constructor(given) {
    const { since, until } = (this.#given = given);
    const known = until === undefined && PRESETS.some(([value]) => value === (since ?? ''));
    const times = [since, until].every((text) => text === undefined || localInput(text) !== '');
    const options = [...PRESETS, [BETWEEN, 'From … to …']];
    // A link may hold what is not offered here, such as 3d: then it is kept as it is.
    if (!known && !times) options.push(['given', [since && `since ${since}`, until && `until ${until}`].filter(Boolean).join(', ')]);
    this.#choice = h('select', { id: 'range', 'aria-label': 'Time' }, options.map(([value, text]) => h('option', { value }, text)));
    this.#choice.value = known ? (since ?? '') : times ? BETWEEN : 'given';
    this.#from.value = localInput(since);
    this.#to.value = localInput(until);
    this.#between = h('span', { class: 'between' }, this.#from, '–', this.#to);
    const show = () => (this.#between.hidden = this.#choice.value !== BETWEEN);
    this.#choice.addEventListener('change', show);
    show();
  }

  parts() {
    return [this.#choice, this.#between];
  }

  /** What is wanted now. @returns {Range} */
  value() {
    const chosen = this.#choice.value;
    if (chosen === 'given') return this.#given;
    if (chosen !== BETWEEN) return chosen === '' ? {} : { since: chosen };
    const { since, until } = this.#given;
    // Times of a link are finer than an input's second.
    const kept = (/** @type {string | undefined} */ text, /** @type {string} */ shown) => (localInput(text) === shown ? text : written(shown));
    return { since: kept(since, this.#from.value), until: kept(until, this.#to.value) };
  }
}

// Live: the log as it grows, newest first.

import { h, list, on, put, say } from './dom.js';
import { matcher } from './filter.js';
import { row, unfold, walk, withGaps } from './rows.js';
import { TONES, glyph, tone } from './tones.js';

/** @import { Entry } from './fold.js' */
/** @import { Row } from './rows.js' */
/** @import { Store } from './store.js' */
/** @import { Tone } from './tones.js' */

export const title = 'Live';

/** Rows there are at most, to begin with and after each wish for more. */
const ROWS = 100;
/** In a burst the rows change so often that nobody reads them: more than so many new ones wait so long for the next. */
const MANY = 20;
const REST_MS = 300;

/** @param {HTMLElement} root @param {Store} store */
export function render(root, store) {
  const view = new Live(store);
  put(root, h('h2', { class: 'unseen' }, title), ...view.parts());
  return { update: () => view.update(), close: () => view.close() };
}

class Live {
  #store;
  #filter = h('input', {
    type: 'search', id: 'live-filter', placeholder: 'Filter', 'aria-label': 'Filter', 'aria-keyshortcuts': '/', spellcheck: 'false',
  });
  #freeze = h('button', { type: 'button', 'aria-keyshortcuts': 'p', 'aria-pressed': 'false' }, 'Freeze');
  #count = h('p', { class: 'count' });
  #rows = h('ol', { class: 'log', 'aria-label': 'Records, newest first' });
  #more = h('button', { type: 'button', hidden: true }, 'Show more');
  #tones = /** @type {Tone[]} */ (Object.keys(TONES)).map(toneButton);

  /** @type {Set<Tone>} */
  #wanted = new Set();
  /** What was there when it was frozen. @type {Entry[] | null} */
  #frozen = null;
  #most = ROWS;
  /** What was drawn last, by its identity. @type {Entry[]} */
  #drawn = [];
  /** @type {ReturnType<typeof setTimeout> | null} */
  #rest = null;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    this.#freeze.addEventListener('click', () => {
      this.#frozen = this.#frozen ? null : store.records;
      this.#draw();
    });
    this.#filter.addEventListener('input', () => this.#draw());
    this.#more.addEventListener('click', () => {
      this.#most += ROWS;
      this.#draw();
    });
    for (const button of this.#tones) button.addEventListener('click', () => this.#choose(/** @type {Tone} */ (button.dataset.tone)));
    on(this.#rows, 'toggle', 'details', unfold);
    on(this.#rows, 'keydown', 'summary', (summary, event) => walk(this.#rows, summary, /** @type {KeyboardEvent} */ (event)));
  }

  parts() {
    const tones = h('div', { class: 'tones', role: 'group', 'aria-label': 'Show only' }, this.#tones);
    const further = h('a', { href: '#/audit' }, 'Search all of the log');
    return [h('div', { class: 'bar' }, this.#filter, tones, this.#freeze, this.#count, further), this.#rows, this.#more];
  }

  /** Draw what has changed; in a burst only now and then. */
  update() {
    const { records } = this.#store;
    if (this.#rest !== null || records === this.#drawn) return;
    if ((records.at(-1)?.seq ?? 0) - (this.#drawn.at(-1)?.seq ?? 0) > MANY) {
      this.#rest = setTimeout(() => {
        this.#rest = null;
        this.update();
      }, REST_MS);
    }
    this.#draw();
  }

  close() {
    if (this.#rest !== null) clearTimeout(this.#rest);
  }

  /** @param {Tone} name */
  #choose(name) {
    if (!this.#wanted.delete(name)) this.#wanted.add(name);
    this.#draw();
  }

  #draw() {
    this.#drawn = this.#store.records;
    const records = this.#frozen ?? this.#drawn;
    const found = records.filter(matcher(this.#filter.value));
    showTones(this.#tones, found, this.#wanted);
    const chosen = this.#wanted.size ? found.filter((record) => this.#wanted.has(tone(record))) : found;
    const newest = chosen.slice(-this.#most).reverse();
    list(this.#rows, chosen.length === records.length ? withGaps(newest) : newest, keyOf, row);
    this.#more.hidden = chosen.length <= this.#most;
    const last = records.at(-1)?.seq ?? 0;
    const later = this.#drawn.filter(({ seq }) => seq > last).length;
    say(this.#freeze, this.#frozen ? `Go on (${later} new)` : 'Freeze');
    this.#freeze.ariaPressed = String(this.#frozen !== null);
    say(this.#count, `${newest.length} of ${records.length} shown`);
  }
}

/** @param {Row} row */
const keyOf = ({ kind, seq }) => `${kind === 'gap' ? 'gap before ' : ''}${seq}`;

/** @param {Tone} name */
function toneButton(name) {
  return h('button', { type: 'button', 'data-tone': name, 'aria-pressed': 'false' }, glyph(name, false), h('span', { class: 'name' }, TONES[name].name), ' ', h('span', {}, '0'));
}

/** @param {HTMLElement[]} buttons @param {Entry[]} records @param {Set<Tone>} wanted */
function showTones(buttons, records, wanted) {
  const counts = { failure: 0, success: 0, dry: 0, other: 0 };
  for (const record of records) counts[tone(record)] += 1;
  for (const button of buttons) {
    const name = /** @type {Tone} */ (button.dataset.tone);
    say(/** @type {Element} */ (button.lastElementChild), String(counts[name]));
    button.setAttribute('aria-pressed', String(wanted.has(name)));
  }
}

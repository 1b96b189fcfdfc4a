// Live: the log as it grows, newest first.

import { h, list, on, put, say } from './dom.js';
import { matcher } from './filter.js';
import { TONES, glyph, tone } from './tones.js';
import { gist, spoken, when, whole } from './words.js';

/** @import { Entry } from './fold.js' */
/** @import { Store } from './store.js' */
/** @import { Tone } from './tones.js' */

export const title = 'Live';

/** Rows there are at most, to begin with and after each wish for more. */
const ROWS = 100;
/** In a burst the rows change so often that nobody reads them: more than so many new ones wait so long for the next. */
const MANY = 20;
const REST_MS = 300;

/** @typedef {Entry | {kind: 'gap', seq: number, from: number, to: number}} Row */

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
    return [h('div', { class: 'bar' }, this.#filter, tones, this.#freeze, this.#count), this.#rows, this.#more];
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

/** The same, with a row where seqs are missing: what the log has lost is not to look as if it had never been. @param {Entry[]} records newest first @returns {Row[]} */
export function withGaps(records) {
  return records.flatMap((record, index) => {
    const next = records[index + 1]?.seq ?? record.seq - 1;
    return next === record.seq - 1 ? [record] : [record, gapOf(record.seq, next)];
  });
}

/** The same object for the same gap, so that its row stays. @type {Map<string, Row>} */
const gaps = new Map();

/** @param {number} after @param {number} before @returns {Row} */
function gapOf(after, before) {
  const name = `${before}-${after}`;
  const gap = gaps.get(name) ?? { kind: 'gap', seq: after, from: before + 1, to: after - 1 };
  gaps.set(name, /** @type {Row} */ (gap));
  return /** @type {Row} */ (gap);
}

/** @param {Row} record */
function row(record) {
  if (record.kind === 'gap') return h('li', { class: 'gap' }, `Records ${record.from} to ${record.to} are not there`);
  const entry = /** @type {Entry} */ (record);
  const summary = h(
    'summary',
    {},
    glyph(tone(entry)),
    when(entry),
    h('b', {}, spoken(entry.kind)),
    h('span', { class: 'what' }, [entry.alertname, entry.target ?? entry.labels?.instance].filter(Boolean).join(entry.target ? ' → ' : ' · ')),
    h('span', { class: 'why' }, h('span', { class: 'rule' }, entry.rule), ' ', h('span', {}, gist(entry))),
  );
  const details = h('details', {}, summary);
  records.set(details, entry);
  return h('li', { class: tone(entry), 'data-seq': entry.seq }, details);
}

/** What an unfolded row is to show. @type {WeakMap<Element, Entry>} */
const records = new WeakMap();

/** @param {HTMLElement} details */
function unfold(details) {
  const record = records.get(details);
  if (record && details.childElementCount === 1) details.append(whole(record));
}

/** Up and down through the rows. @param {HTMLElement} rows @param {HTMLElement} summary @param {KeyboardEvent} event */
function walk(rows, summary, event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const all = /** @type {HTMLElement[]} */ ([...rows.querySelectorAll('summary')]);
  event.preventDefault();
  all[all.indexOf(summary) + step]?.focus();
}

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
  const filter = h('input', { type: 'search', id: 'live-filter', placeholder: 'Filter', 'aria-keyshortcuts': '/', 'aria-label': 'Filter', spellcheck: 'false' });
  const freeze = h('button', { type: 'button', 'aria-keyshortcuts': 'p', 'aria-pressed': 'false' }, 'Freeze');
  const count = h('p', { class: 'count' });
  const rows = h('ol', { class: 'log', 'aria-label': 'Records, newest first' });
  const more = h('button', { type: 'button', hidden: true }, 'Show more');
  const tones = /** @type {Tone[]} */ (Object.keys(TONES)).map(toneButton);
  put(root, h('h2', { class: 'unseen' }, title), h('div', { class: 'bar' }, filter, h('div', { class: 'tones', role: 'group', 'aria-label': 'Show only' }, tones), freeze, count), rows, more);

  /** @type {Set<Tone>} */
  const wanted = new Set();
  /** What was there when it was frozen. @type {Entry[] | null} */
  let frozen = null;
  let most = ROWS;
  let matches = matcher('');
  let drawn = '';
  let drawnSeq = 0;
  let rested = true;

  /** Draw, but in a burst only now and then. */
  function update() {
    if (!rested) return;
    const { seq = 0 } = store.records.at(-1) ?? {};
    if (seq - drawnSeq > MANY) {
      rested = false;
      setTimeout(() => {
        rested = true;
        update();
      }, REST_MS);
    }
    drawnSeq = seq;
    draw();
  }

  function draw() {
    const records = frozen ?? store.records;
    const now = `${records.at(-1)?.seq} ${records.length} ${store.records.at(-1)?.seq} ${filter.value} ${[...wanted]} ${most}`;
    if (now === drawn) return;
    drawn = now;
    const found = records.filter(matches);
    showTones(tones, found, wanted);
    const chosen = wanted.size ? found.filter((record) => wanted.has(tone(record))) : found;
    const newest = chosen.slice(-most).reverse();
    list(rows, chosen.length === records.length ? withGaps(newest) : newest, ({ kind, seq }) => `${kind === 'gap' ? 'g' : ''}${seq}`, row);
    more.hidden = chosen.length <= most;
    const later = frozen ? store.records.filter(({ seq }) => seq > (records.at(-1)?.seq ?? 0)).length : 0;
    say(freeze, frozen ? `Go on (${later} new)` : 'Freeze');
    say(count, `${newest.length} of ${records.length}`);
  }

  freeze.addEventListener('click', () => {
    frozen = frozen ? null : store.records;
    freeze.setAttribute('aria-pressed', String(frozen !== null));
    draw();
  });
  filter.addEventListener('input', () => {
    matches = matcher(filter.value);
    draw();
  });
  more.addEventListener('click', () => {
    most += ROWS;
    draw();
  });
  for (const button of tones) button.addEventListener('click', () => {
    const name = /** @type {Tone} */ (button.dataset.tone);
    if (!wanted.delete(name)) wanted.add(name);
    draw();
  });
  on(rows, 'toggle', 'details', unfold);
  on(rows, 'keydown', 'summary', (summary, event) => walk(rows, summary, /** @type {KeyboardEvent} */ (event)));
  return { update, close() {} };
}

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

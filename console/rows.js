// Records as rows that unfold, wherever they are listed.

import { h } from './dom.js';
import { glyph, tone } from './tones.js';
import { gist, spoken, utcs, when, whole } from './words.js';

/** @import { Entry } from './fold.js' */

/** @typedef {Entry | {kind: 'gap', seq: number, from: number, to: number}} Row */

/** A record, or what says that some are not there. @param {Row} record */
export function row(record) {
  if (record.kind === 'gap') return h('li', { class: 'gap' }, `Records ${record.from} to ${record.to} are not there`);
  const entry = /** @type {Entry} */ (record);
  const summary = h(
    'summary',
    {},
    glyph(tone(entry)),
    when(entry),
    h('b', {}, spoken(entry.kind)),
    h('span', { class: 'what' }, [entry.alertname, entry.target ?? entry.labels?.instance].filter(Boolean).join(entry.target ? ' → ' : ' · ')),
    h('span', { class: 'why' }, h('span', { class: 'rule' }, entry.rule), ' ', h('span', { title: utcs(entry.detail) }, gist(entry))),
  );
  const details = h('details', {}, summary);
  records.set(details, entry);
  return h('li', { class: tone(entry), 'data-seq': entry.seq }, details);
}

/** What an unfolded row is to show. @type {WeakMap<Element, Entry>} */
const records = new WeakMap();

/** Show all that the record of a row holds. @param {HTMLElement} details */
export function unfold(details) {
  const record = records.get(details);
  if (record && details.childElementCount === 1) details.append(whole(record));
}

/** Up and down through the rows. @param {HTMLElement} rows @param {HTMLElement} summary @param {KeyboardEvent} event */
export function walk(rows, summary, event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const all = /** @type {HTMLElement[]} */ ([...rows.querySelectorAll('summary')]);
  event.preventDefault();
  all[all.indexOf(summary) + step]?.focus();
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

// Audit: all of the log, asked with its language.

import { exported, get } from './api.js';
import { Combo } from './combo.js';
import { h, list, on, put, say } from './dom.js';
import { pointed } from './query.js';
import { showHelp } from './query-help.js';
import { RangeInput } from './range.js';
import { row, unfold, walk, withGaps } from './rows.js';
import { search } from './search.js';
import { seen } from './seen.js';
import { present, seconds, utc } from './time.js';
import { time } from './words.js';

/** @import { Fields } from './fold.js' */
/** @import { Params } from './routes.js' */
/** @import { Asked, Found } from './search.js' */
/** @import { Store } from './store.js' */

export const title = 'Audit';

/** Records of one page. */
const PAGE = 200;
/** How often a search that stopped early goes on by itself: each may take two seconds. */
const ROUNDS = 5;

/** The address of a search. @param {Asked} asked */
export function searchAddress(asked) {
  const given = Object.entries(asked).filter(([, value]) => value);
  return `#/audit${given.length ? `?${new URLSearchParams(/** @type {[string, string][]} */ (given))}` : ''}`;
}

/** @param {HTMLElement} root @param {Store} store @param {Params} params */
export function render(root, store, { query }) {
  const view = new Audit(store, Object.fromEntries(['q', 'since', 'until', 'before'].flatMap((name) => (query.get(name) ? [[name, query.get(name)]] : []))));
  put(root, h('h2', { class: 'unseen' }, title), ...view.parts());
  view.run();
  return { update() {}, close: () => view.close() };
}

class Audit {
  #store;
  #asked;
  #input;
  #combo;
  #range;
  #fault = h('p', { class: 'fault', id: 'audit-fault', role: 'alert' });
  #told = h('p', { class: 'count', role: 'status' });
  #notes = h('div', { class: 'notes' });
  #rows = h('ol', { class: 'log dated', 'aria-label': 'Records, newest first' });
  #pages = h('nav', { class: 'bar', 'aria-label': 'Pages' });
  #export = h('button', { type: 'button' }, 'Export');
  /** @type {string[]} */
  #rules = [];
  /** @type {Found['records']} */
  #records = [];
  /** Counts what was asked: an answer to an earlier question is no answer. */
  #life = 0;
  /** @type {AbortController | null} */
  #exporting = null;

  /** @param {Store} store @param {Asked} asked */
  constructor(store, asked) {
    this.#store = store;
    this.#asked = asked;
    this.#input = h('input', {
      type: 'search', id: 'audit-query', 'aria-label': 'Filter', 'aria-keyshortcuts': '/', 'aria-describedby': 'audit-fault',
      placeholder: 'kind=action_fail AND labels.job=api', spellcheck: 'false', autocapitalize: 'off', maxlength: 4096,
    });
    this.#input.value = asked.q ?? '';
    this.#range = new RangeInput(asked);
    this.#combo = new Combo(this.#input, (field) => seen(field, [...this.#records, ...this.#store.records.toReversed(), ...this.#open()], this.#rules));
    this.#export.addEventListener('click', () => this.#save());
    on(this.#rows, 'toggle', 'details', unfold);
    on(this.#rows, 'keydown', 'summary', (summary, event) => walk(this.#rows, summary, /** @type {KeyboardEvent} */ (event)));
    get('/rules').then(({ rules }) => (this.#rules = rules.map((/** @type {Fields} */ { name }) => name)), () => {});
  }

  parts() {
    const help = h('button', { type: 'button' }, 'Help');
    help.addEventListener('click', showHelp);
    const query = h('div', { class: 'query' }, this.#input, this.#combo.popup);
    const form = h('form', { class: 'search', role: 'search' }, query, ...this.#range.parts(), h('button', { type: 'submit', class: 'main' }, 'Search'), help, this.#export);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#combo.close();
      this.#asked = { q: this.#input.value.trim(), ...this.#range.value() };
      // Not by the address's change, which would draw all anew and take the focus away.
      history.pushState(null, '', searchAddress(this.#asked));
      this.run();
    });
    return [form, this.#fault, this.#notes, this.#told, this.#rows, this.#pages];
  }

  close() {
    this.#life += 1;
    this.#exporting?.abort();
  }

  /** Ask, and show what is found. */
  async run() {
    const life = ++this.#life;
    this.#accuse();
    say(this.#told, 'Searching…');
    try {
      const found = await search(given(this.#asked), PAGE, ROUNDS);
      if (life === this.#life) this.#show(found);
    } catch (error) {
      if (life !== this.#life) return;
      say(this.#told, '');
      this.#show(null);
      this.#accuse(error);
    }
  }

  /** What fires, as a record: its labels are worth offering too. */
  #open() {
    return [...this.#store.state.episodes.values()].map((/** @type {any} */ { labels, annotations }) => ({ labels, annotations, alertname: labels.alertname }));
  }

  /** @param {Found | null} found */
  #show(found) {
    const { records, next, stopped, unread } = found ?? { records: [], next: null, stopped: false, unread: [] };
    this.#records = records;
    const whole = !this.#asked.q && unread.length === 0;
    list(this.#rows, whole ? withGaps(records) : records, ({ kind, seq }) => `${kind} ${seq}`, row);
    if (found) put(this.#told, ...counted(found, this.#asked));
    put(this.#notes, unread.map(({ first, last, why }) => h('p', { class: 'notice care' }, first === null ? `A file could not be read: ${why}` : `Records ${first} to ${last} could not be read: ${why}`)));
    const older = next !== null && h('a', { href: searchAddress({ ...this.#asked, before: next }), rel: 'next' }, stopped ? 'Search on' : 'Older');
    put(this.#pages, this.#asked.before && h('a', { href: searchAddress({ ...this.#asked, before: undefined }) }, 'Newest'), older);
  }

  /** Say what is wrong with what was asked, and where; nothing when there is nothing. @param {unknown} [error] @param {string} [query] */
  #accuse(error, query = this.#asked.q ?? '') {
    this.#input.ariaInvalid = null;
    if (error === undefined) return put(this.#fault);
    const { message, fields } = /** @type {{message: string, fields?: Fields}} */ (error);
    if (fields?.parameter !== 'q') return put(this.#fault, message);
    const { before, mark, after, caret } = pointed(query, Number(fields.column));
    this.#input.ariaInvalid = 'true';
    put(this.#fault, message.replace(/^q: c/, 'C'), h('code', {}, before, h('mark', {}, mark), after));
    if (document.activeElement === this.#input) this.#input.setSelectionRange(caret, caret);
  }

  /** Keep all that matches as a file; once more, and it is called off. */
  async #save() {
    if (this.#exporting) return this.#exporting.abort();
    const mine = (this.#exporting = new AbortController());
    const asked = { q: this.#input.value.trim(), ...this.#range.value() };
    say(this.#export, 'Cancel the export');
    this.#accuse();
    try {
      const { lines, unread } = await exported(given(asked), mine.signal);
      keep(lines, `autoheal-audit-${utc(present()).replaceAll(':', '')}.jsonl`);
      if (unread) put(this.#fault, `The export lacks records that could not be read: ${unread}.`);
    } catch (error) {
      if (!mine.signal.aborted) this.#accuse(error, asked.q);
    }
    this.#exporting = null;
    say(this.#export, 'Export');
  }
}

/** Without what is empty. @param {Asked} asked @returns {any} */
const given = (asked) => Object.fromEntries(Object.entries(asked).filter(([, value]) => value));

/** @param {Found} found @param {Asked} asked */
function counted({ records, next, stopped }, { before }) {
  const at = stopped ? [` The search stopped before record ${next}: what is older has not been looked at.`] : [];
  if (records.length === 0) return [stopped ? 'Nothing yet.' : before ? 'Nothing older matches.' : 'Nothing matches.', ...at];
  const span = [time(seconds(records[records.length - 1].ts)), ' to ', time(seconds(records[0].ts))];
  return [`${records.length} ${records.length === 1 ? 'record' : 'records'}, `, ...span, '.', ...at];
}

/** Let the browser keep a file. @param {Blob} content @param {string} name */
function keep(content, name) {
  const url = URL.createObjectURL(content);
  const link = h('a', { download: name });
  // Of our own making: what comes from data goes through h(), which takes the web alone.
  link.href = url;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Rules: what each may do, how it does, and what holds it back.

import { get, post } from './api.js';
import { ask } from './dialog.js';
import { announce, h, list, on, put, say } from './dom.js';
import { pauseDialog, resumeDialog } from './pause.js';
import { ENDS, tally } from './rates.js';
import { RuleCard, reach } from './rule-card.js';
import { search } from './searching.js';

/** @import { Fields } from './fold.js' */
/** @import { Found } from './searching.js' */
/** @import { Store } from './store.js' */

export const title = 'Rules';

/** While things happen the rules are asked for so often at most. */
const REST_SECONDS = 5;
const RANGES = [['24h', 'last 24 hours'], ['7d', 'last 7 days'], ['30d', 'last 30 days']];

/** @param {HTMLElement} root @param {Store} store */
export function render(root, store) {
  const view = new Rules(store);
  put(root, h('h2', { class: 'unseen' }, title), ...view.parts());
  return { update: () => view.update(), close: () => view.close() };
}

class Rules {
  #store;
  #range = h('select', { id: 'rules-range' }, RANGES.map(([value, text]) => h('option', { value, selected: value === '7d' }, text)));
  #covers = h('p', { class: 'quiet', role: 'status' });
  #none = h('p', { class: 'none', role: 'status' });
  #list = h('div', { class: 'rules' });
  #asked = { at: -Infinity, seq: -1 };
  #asking = false;
  #closed = false;
  /** `GET /rules`. @type {Fields | null} */
  #answer = null;
  /** @type {Map<string, RuleCard>} */
  #cards = new Map();
  /** Records that end runs, of the range, and what they add up to. @type {Found} */
  #ends = { records: [], whole: true, from: null };
  #counts = tally([]);
  /** Whether the counts are there or under way: else they are asked for with the rules. */
  #isCounted = true;
  /** The newest record that is counted. */
  #counted = Infinity;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    this.#range.addEventListener('change', () => this.#count());
    on(this.#list, 'click', '[data-do]', ({ dataset }) => this.#do(dataset.do ?? '', dataset.rule ?? ''));
    this.#count();
  }

  parts() {
    return [h('div', { class: 'bar' }, h('label', { for: 'rules-range' }, 'Counts of the'), this.#range, this.#covers), this.#none, this.#list];
  }

  close() {
    this.#closed = true;
  }

  update() {
    const { state } = this.#store;
    const now = Date.now() / 1000;
    if (!this.#asking && state.head.seq !== this.#asked.seq && now - this.#asked.at >= REST_SECONDS) this.#ask();
    this.#countOn();
    if (this.#answer) this.#draw(this.#answer);
  }

  /** @param {Fields} answer */
  #draw({ rules, budget }) {
    const cards = rules.map((/** @type {Fields} */ rule) => {
      const known = this.#cards.get(rule.name) ?? new RuleCard(this.#store);
      this.#cards.set(rule.name, known);
      known.update({ rule, all: budget, tally: this.#counts.get(rule.name), since: this.#range.value, partly: !this.#ends.whole });
      return known;
    });
    list(this.#list, cards, (card) => rules[cards.indexOf(card)].name, ({ element }) => element);
  }

  async #ask() {
    this.#asking = true;
    this.#asked = { at: Date.now() / 1000, seq: this.#store.state.head.seq };
    try {
      this.#answer = await get('/rules');
      say(this.#none, this.#answer?.rules.length === 0 ? 'There are no rules.' : '');
      if (!this.#isCounted) this.#count();
    } catch (error) {
      // What was known stays; that nothing is known yet is to be said.
      if (!this.#answer) say(this.#none, /** @type {Error} */ (error).message);
      this.#asked.seq = -1;
    }
    this.#asking = false;
    this.#store.changed();
  }

  /** Count the runs that have ended in the range. */
  async #count() {
    const since = this.#range.value;
    this.#isCounted = true;
    put(this.#covers, 'Counting …');
    try {
      const found = await search(`kind IN (${ENDS.join(', ')}) AND run EXISTS AND alertname!=AutohealSelfTest`, since);
      if (this.#closed || since !== this.#range.value) return;
      this.#ends = found;
      this.#counts = tally(found.records);
      this.#counted = found.records[0]?.seq ?? 0;
      put(this.#covers, ...covers(found));
    } catch (error) {
      if (since !== this.#range.value) return;
      put(this.#covers, /** @type {Error} */ (error).message);
      this.#isCounted = false;
      this.#asked.seq = -1;
    }
    this.#store.changed();
  }

  /** What has come since counts as well. */
  #countOn() {
    const { records } = this.#store;
    const last = records.at(-1)?.seq ?? 0;
    if (last <= this.#counted) return;
    const added = records.filter(({ seq, kind }) => seq > this.#counted && ENDS.includes(kind));
    this.#counted = last;
    if (added.length === 0) return;
    this.#ends = { ...this.#ends, records: [...added.reverse(), ...this.#ends.records] };
    this.#counts = tally(this.#ends.records);
  }

  /** @param {string} what @param {string} rule */
  #do(what, rule) {
    if (what === 'pause') pauseDialog(rule);
    if (what === 'resume') resumeDialog(rule);
    if (what !== 'reset') return;
    const told = h('p', {}, 'Its failures and its demotion are forgotten, and what waits for it is decided anew at once.');
    ask(`Reset the breaker of rule ${rule}`, [told], 'Reset', async () => {
      await post(`/rules/${encodeURIComponent(rule)}/reset`, {});
      this.#asked.at = -Infinity;
      announce(`The breaker of rule ${rule} is closed.`);
    });
  }
}

/** @param {Found} found */
function covers({ records, whole, from }) {
  if (whole) return [];
  return from === null
    ? ['A part of the log cannot be read (encrypted): these are the counts of the rest.']
    : [`Only the newest ${records.length} ends of runs are counted, since `, reach(from), '.'];
}

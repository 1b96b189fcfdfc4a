// What storms hold, and letting it go as the batch that was looked at.

import { get, post } from './api.js';
import { stepLine } from './asking.js';
import { ask, field } from './dialog.js';
import { announce, h, list, on, put } from './dom.js';
import { seconds } from './time.js';
import { time } from './words.js';

/** @import { Fields } from './fold.js' */
/** @import { Store } from './store.js' */

/** The plans of a batch take the gateway a while: so often they are asked for, at most. */
const REST_SECONDS = 3;
const TARGETS = 200;

export class Storms {
  element = h('ol', { class: 'cards', 'aria-label': 'Storms' });
  #store;
  /** @type {Fields[]} */
  #storms = [];
  #asked = { at: -Infinity, seq: -1 };
  #asking = false;
  #role = '';

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    on(this.element, 'click', 'button', ({ dataset }) => {
      const storm = this.#storms.find(({ rule }) => rule === dataset.rule);
      if (storm) this.#release(storm);
    });
  }

  get empty() {
    return this.#storms.length === 0;
  }

  /** Ask anew when something has happened, while there are storms. */
  update() {
    const { state, who } = this.#store;
    if (who.role !== this.#role) this.#draw();
    const now = Date.now() / 1000;
    const due = state.storms.size !== this.#storms.length || (state.storms.size > 0 && state.head.seq !== this.#asked.seq);
    if (due && !this.#asking && now - this.#asked.at >= REST_SECONDS) this.#ask().catch(() => {});
  }

  async #ask() {
    this.#asking = true;
    this.#asked = { at: Date.now() / 1000, seq: this.#store.state.head.seq };
    try {
      this.#storms = (await get('/storms')).storms;
      this.#draw();
    } catch (error) {
      this.#asked.seq = -1;
      throw error;
    } finally {
      this.#asking = false;
    }
  }

  #draw() {
    this.#role = this.#store.who.role;
    const may = this.#store.may('approver');
    // One that says the same stays, and its button keeps the focus.
    const texts = new Map(this.#storms.map((storm) => [`${may} ${says(storm)}`, storm]));
    list(this.element, [...texts.keys()], (text) => text, (text) => card(/** @type {Fields} */ (texts.get(text)), may));
    this.#store.changed();
  }

  /** @param {Fields} storm */
  #release(storm) {
    let looked = storm;
    const shown = h('div', {}, batch(looked));
    const comment = h('input', { id: 'release-comment', name: 'comment', maxlength: 1000, autofocus: true });
    ask(`Release what the storm of ${storm.rule} holds`, [shown, field('Comment', comment, 'May be left empty.')], 'Release', async (given) => {
      const word = { batch_digest: looked.batch_digest, ...(given.comment && { comment: given.comment }) };
      try {
        await post(`/rules/${encodeURIComponent(storm.rule)}/release`, word);
      } catch (error) {
        if (/** @type {any} */ (error).status !== 409) throw error;
        await this.#ask();
        const now = this.#storms.find(({ rule }) => rule === storm.rule);
        if (!now?.batch_digest) throw error;
        looked = now;
        put(shown, batch(looked));
        throw new Error('Nothing was done: the batch has changed meanwhile. Above is the new one; look at it, then release it.');
      }
      announce(`Released: what the storm of ${storm.rule} held.`);
      this.#asked.at = -Infinity;
    });
  }
}

/** @param {Fields} storm */
function says({ rule, since, over, held, batch_digest, alerts, more }) {
  const unplanned = alerts.filter((/** @type {Fields} */ { plan }) => plan === null).length;
  return JSON.stringify([rule, since, over, held, batch_digest, alerts.length, more, unplanned]);
}

/** @param {Fields} storm @param {boolean} may whether the person may let it go */
function card(storm, may) {
  const { rule, since, over, held, batch_digest: digest } = storm;
  const id = `storm-${rule}`;
  return h(
    'li',
    { class: 'card', 'aria-labelledby': id },
    h('h4', { id }, `Storm of ${rule}`),
    h('p', { class: 'quiet' }, over ? 'Over; it began at ' : 'Since ', time(seconds(since)), `: ${held} ${held === 1 ? 'alert is' : 'alerts are'} held. Each stays so until it ends or is released.`),
    digest === null ? h('p', {}, 'None can be released now.') : batch(storm),
    may && digest !== null && h('div', { class: 'buttons' }, h('button', { type: 'button', 'data-rule': rule, 'aria-label': `Release what the storm of ${rule} holds` }, 'Release…')),
  );
}

/** @param {Fields} storm */
function batch({ alerts, more, batch_digest: digest }) {
  const targets = alerts.slice(0, TARGETS);
  const left = more + alerts.length - targets.length;
  const rows = targets.map((/** @type {Fields} */ { target, alertname, plan }) =>
    h('li', {}, h('b', {}, target), ' ', h('span', { class: 'quiet' }, alertname), h('br'), h('code', {}, plan ? plan.steps.map(stepLine).join(', then ') : 'is being planned anew')),
  );
  return h(
    'div',
    { class: 'batch' },
    h('p', {}, `${alerts.length + more} can be released together:`),
    h('ol', { tabindex: 0, 'aria-label': 'Targets' }, ...rows, left > 0 && h('li', {}, `and ${left} more`)),
    h('p', { class: 'quiet' }, 'Digest of the batch ', h('code', {}, digest)),
  );
}

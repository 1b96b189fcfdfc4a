// Approvals: what waits for a person's word, what storms hold, and what became of what was asked.

import { card, countDown, ladder, wordDialog } from './approval-card.js';
import { answer, answered, atWork, standing, words } from './asking.js';
import { get } from './api.js';
import { announce, h, list, on, put } from './dom.js';
import { address } from './routes.js';
import { Storms } from './storms.js';
import { present } from './time.js';
import { waiting } from './waiting.js';
import { time } from './words.js';

/** @import { Entry, Fields } from './fold.js' */
/** @import { Store } from './store.js' */

export const title = 'Approvals';

/** Cards there are at most: whoever has seen so many pauses. */
const CARDS = 50;
const AT_WORK = 5;

/** @param {HTMLElement} root @param {Store} store */
export function render(root, store) {
  const view = new Approvals(store);
  put(root, h('h2', { class: 'unseen' }, title), ...view.parts());
  return { update: () => view.update(), close: () => view.close() };
}

class Approvals {
  #store;
  #cards = h('ol', { class: 'cards', 'aria-label': 'Waiting for a word' });
  #none = h('p', { class: 'none' }, 'Nothing waits for a word.');
  #more = h('p', { class: 'quiet' });
  #meanwhile = h('div', { class: 'meanwhile' });
  #answered = h('ol', { class: 'answered', 'aria-label': 'Answered' });
  #answers = h('section', {}, h('h3', {}, 'Answered'), this.#answered);
  #storms;
  #held;
  /** What the steps of each run promise; null where that is not to be had. @type {Map<string, Fields[] | null>} */
  #promised = new Map();
  #asking = false;
  #closed = false;
  /** @type {Set<string> | null} */
  #known = null;
  /** @type {{records: Entry[], found: ReturnType<typeof words>}} */
  #words = { records: [], found: new Map() };

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    this.#storms = new Storms(store);
    this.#held = h('section', {}, h('h3', {}, 'Held by storms'), this.#storms.element);
    on(this.#cards, 'click', '[data-word]', (button) => {
      const id = /** @type {HTMLElement} */ (button.closest('[data-run]')).dataset.run ?? '';
      const run = store.state.runs.get(id);
      if (run?.plan) wordDialog(run, /** @type {'approve' | 'deny'} */ (button.dataset.word), store, this.#promised.get(id) ?? undefined);
    });
  }

  parts() {
    return [h('section', {}, h('h3', {}, 'Waiting for a word'), this.#none, this.#meanwhile, this.#cards, this.#more), this.#held, this.#answers];
  }

  update() {
    const { state, who } = this.#store;
    const found = waiting(state);
    this.#tell(found);
    const shown = found.slice(0, CARDS);
    // Another person, or another role, has other buttons.
    list(this.#cards, shown, ({ id }) => `${id} ${who.role} ${who.subject}`, (run) => this.#card(run));
    shown.forEach((run, index) => countDown(this.#cards.children[index], run, present()));
    this.#none.hidden = found.length > 0;
    put(this.#more, found.length > CARDS && `and ${found.length - CARDS} more, which are shown when these are answered`);
    this.#drawMeanwhile(found.length > 0 ? atWork(state) : []);
    this.#drawAnswered();
    this.#storms.update();
    this.#held.hidden = this.#storms.empty;
    this.#askPromises(shown);
  }

  close() {
    this.#closed = true;
  }

  /** Have what is new read aloud. @param {Fields[]} found */
  #tell(found) {
    const known = this.#known;
    const added = known && found.filter(({ id }) => !known.has(id));
    if (added?.length) announce(added.length === 1 ? `${added[0].rule} on ${added[0].target} waits for a word.` : `${added.length} more runs wait for a word.`);
    this.#known = new Set(found.map(({ id }) => id));
  }

  /** @param {Fields} run */
  #card(run) {
    const made = card(run, this.#store);
    const promised = this.#promised.get(run.id);
    if (promised) made.querySelector('.planned')?.replaceWith(ladder(run.plan.steps, promised));
    return made;
  }

  /** @param {Fields[]} runs */
  #drawMeanwhile(runs) {
    const shown = runs.slice(0, AT_WORK).map(({ id, rule, target, ...run }) => h('li', {}, link(id, rule, target), `: ${standing(/** @type {Fields} */ (run))}`));
    const text = JSON.stringify(runs.map(({ id, state, step }) => [id, state, step]));
    if (this.#meanwhile.dataset.text === text) return;
    this.#meanwhile.dataset.text = text;
    this.#meanwhile.hidden = runs.length === 0;
    put(this.#meanwhile, 'At work meanwhile: ', h('ul', {}, ...shown, runs.length > AT_WORK && h('li', {}, `and ${runs.length - AT_WORK} more`)));
  }

  #drawAnswered() {
    const { records, state } = this.#store;
    if (records !== this.#words.records) this.#words = { records, found: words(records) };
    const rows = answered(state).map((run) => JSON.stringify({ ...run, plan: run.plan && { steps: run.plan.steps.map(() => 0) }, word: this.#words.found.get(run.id) }));
    this.#answers.hidden = rows.length === 0;
    list(this.#answered, rows, (text) => text, (text) => answerRow(JSON.parse(text)));
  }

  /** One after the other: each is a search through the log. @param {Fields[]} runs */
  async #askPromises(runs) {
    if (this.#asking || this.#store.connection.status !== 'live') return;
    this.#asking = true;
    for (const { id, plan } of runs) {
      if (this.#closed || this.#promised.has(id)) continue;
      // A gateway that is away is asked again once it is back.
      const unknown = (/** @type {{status: number}} */ { status }) => (status === 404 ? null : undefined);
      const promised = await get(`/runs/${encodeURIComponent(id)}`).then((answer) => answer.promises, unknown);
      if (promised === undefined) break;
      this.#promised.set(id, promised);
      if (promised) this.#cards.querySelector(`[data-run="${CSS.escape(id)}"] .planned`)?.replaceWith(ladder(plan.steps, promised));
    }
    this.#asking = false;
  }
}

/** @param {string} id @param {string} rule @param {string} target */
const link = (id, rule, target) => h('a', { href: address('runs', id) }, `${rule} → ${target}`);

/** @param {Fields} run */
function answerRow(run) {
  const { id, rule, target, word, state } = run;
  const over = run.approval.by !== null ? standing(run) : '';
  const tone = { healed: 'success', escalated: 'failure', expired: 'failure' }[/** @type {string} */ (state)] ?? 'other';
  return h(
    'li',
    { class: tone },
    h('span', {}, word ? time(word.ts) : time(run.ended_at ?? run.created_at)),
    link(id, rule, target),
    h('span', {}, h('b', {}, answer(run)), over && ` · ${over}`, word?.comment && h('q', {}, word.comment)),
  );
}

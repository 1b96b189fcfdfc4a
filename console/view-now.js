// Now: what fires, what autoheal does or would do about it, and why. What needs a person stands on top.

import { covers, holding } from './acks.js';
import { ackElement, cardElement, shown } from './card.js';
import { GROUPS, cards } from './cards.js';
import { h, on, put, say } from './dom.js';
import { keepingFocus, startButtons, tick } from './parts.js';
import { Recall } from './recall.js';
import { Section } from './section.js';
import { present } from './time.js';
import { whole } from './words.js';

/** @import { Card, Group } from './cards.js' */
/** @import { Fields, State } from './fold.js' */
/** @import { Item } from './section.js' */
/** @import { Store } from './store.js' */

export const title = 'Now';

/** In a burst the state changes so often that nobody reads it. */
const REST_MS = 300;

/** @param {HTMLElement} root @param {Store} store */
export function render(root, store) {
  const view = new Now(store, root);
  return { update: () => view.update(), close: () => view.close() };
}

class Now {
  #store;
  #summary = h('p', { class: 'sum' });
  #groups = new Map(/** @type {Group[]} */ (Object.keys(GROUPS)).map((name) => [name, new Section(GROUPS[name], () => this.#draw())]));
  #acks = new Section('Acknowledged', () => this.#draw());
  #root = h('div', { class: 'now' });
  #recall = new Recall(() => this.#draw());
  #log = '';
  /** @type {State | null} */
  #drawn = null;
  #holding = '';
  /** Episodes of which the records that say more are not known. @type {string[]} */
  #missing = [];
  #resting = false;
  #closed = false;

  /** @param {Store} store @param {HTMLElement} root */
  constructor(store, root) {
    this.#store = store;
    put(this.#root, ...[...this.#groups.values(), this.#acks].map(({ element }) => element));
    put(root, h('h2', { class: 'unseen' }, title), this.#summary, this.#root);
    startButtons(this.#root);
    on(this.#root, 'toggle', 'details', (element) => {
      const episode = shown.get(element.closest('[data-key]') ?? element)?.episode;
      if (episode && element.childElementCount === 1) element.append(whole(/** @type {any} */ (episode)));
    });
  }

  update() {
    const now = present();
    const acks = holding(this.#store.state, now).map(({ id }) => id).join();
    if (!this.#resting && (this.#store.state !== this.#drawn || acks !== this.#holding)) {
      this.#resting = true;
      setTimeout(() => {
        this.#resting = false;
        if (!this.#closed) this.update();
      }, REST_MS);
      this.#draw();
    }
    tick(this.#root, now);
  }

  close() {
    this.#closed = true;
  }

  #draw() {
    if (this.#closed) return;
    const { state, records } = this.#store;
    const acks = holding(state, present());
    this.#drawn = state;
    this.#holding = acks.map(({ id }) => id).join();
    if (this.#log !== state.head.log) this.#recall = new Recall(() => this.#draw());
    this.#log = state.head.log;
    this.#recall.take(records);
    const found = cards(state);
    this.#missing = [];
    keepingFocus(this.#root, () => {
      for (const [name, section] of this.#groups) section.show(found[name], (card) => this.#cardItem(name, card, acks), cardElement);
      this.#acks.show(acks, (ack) => this.#ackItem(ack), ackElement);
    });
    void this.#recall.want(this.#missing);
    const counts = [...this.#groups].map(([name, { title: words }]) => `${words}: ${found[name].length}`);
    say(this.#summary, state.episodes.size || found.work.length || found.people.length ? counts.join(' · ') : 'Nothing fires.');
    tick(this.#root, present());
  }

  /** Of a card that is shown all that it is made of: while each of these stands, so does its element. @param {Group} name @param {Card} card @param {Fields[]} acks */
  #cardItem(name, card, acks) {
    const { episode, lines, storm } = card;
    const told = lines.map(({ rule, decision, run }) => [
      episode && decision ? this.#recall.decision(episode.id, rule, decision.reason) : undefined,
      run ? this.#recall.started(run.id) : undefined,
    ]);
    const missing = lines.some(({ decision, run }, index) => (decision && !told[index][0]) || (run?.state === 'acting' && !told[index][1]));
    if (episode && missing) this.#missing.push(episode.id);
    const ack = episode && (acks.find(({ matchers }) => covers(matchers, episode.labels)) ?? null);
    const operator = this.#store.may('operator');
    const parts = [episode, ack, operator, storm?.storm, ...lines.flatMap(({ failure, run, decision }) => [failure, run, decision]), ...told.flat()];
    return { key: card.key, parts, name, card, told, ack, operator };
  }

  /** @param {Fields} silence @returns {Item} */
  #ackItem(silence) {
    const own = this.#store.may('operator') && silence.actor === this.#store.who.subject;
    return { key: silence.id, parts: [silence, own], silence, own };
  }
}

// A heading, how many there are, and as many of them as anybody reads.

import { h, list, say } from './dom.js';

/** Cards there are at most, to begin with and after each wish for more. */
const MANY = 40;

/** What a card is made of: while each of its parts stands, so does its element. */
/** @typedef {{key: string, parts: unknown[], [more: string]: any}} Item */

export class Section {
  title;
  #heading = h('h3');
  #list = h('ul', { class: 'cards' });
  #more = h('button', { type: 'button' }, 'Show more');
  element = h('section', {}, this.#heading, this.#list, this.#more);
  #most = MANY;
  /** @type {Map<string, Item>} */
  #items = new Map();

  /** @param {string} words @param {() => void} again */
  constructor(words, again) {
    this.title = words;
    this.#more.addEventListener('click', () => {
      this.#most += MANY;
      again();
    });
  }

  /** @template T @param {T[]} all @param {(one: T) => Item} item @param {(item: Item) => HTMLElement} make */
  show(all, item, make) {
    const items = all.slice(0, this.#most).map((one) => {
      const made = item(one);
      const old = this.#items.get(made.key);
      return old && old.parts.length === made.parts.length && old.parts.every((part, index) => part === made.parts[index]) ? old : made;
    });
    const open = new Set([...this.#list.children].filter((one) => one.querySelector('details[open]')).map((one) => one.getAttribute('data-key')));
    this.#items = new Map(items.map((one) => [one.key, one]));
    list(this.#list, items, ({ key }) => key, (one) => {
      const element = make(one);
      element.dataset.key = one.key;
      const details = open.has(one.key) ? element.querySelector('details') : null;
      if (details) details.open = true;
      return element;
    });
    say(this.#heading, `${this.title} (${all.length})`);
    this.element.hidden = all.length === 0;
    this.#more.hidden = all.length <= this.#most;
  }
}

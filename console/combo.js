// An input that offers what may come next (WAI-ARIA 1.2, combobox with a listbox).

import { h, on, put } from './dom.js';
import { choices, place } from './query.js';

/** @import { Choice } from './query.js' */

export class Combo {
  /** @type {Choice[]} */
  #choices = [];
  #active = -1;
  #from = 0;
  #seen;

  /** @param {HTMLInputElement} input with an id @param {(field: string) => Iterable<string>} seen as in query.js */
  constructor(input, seen) {
    this.input = input;
    this.#seen = seen;
    this.popup = h('ul', { id: `${input.id}-choices`, class: 'choices', role: 'listbox', 'aria-label': 'What may come next', hidden: true });
    const about = { role: 'combobox', 'aria-controls': this.popup.id, 'aria-autocomplete': 'list', 'aria-expanded': 'false', autocomplete: 'off' };
    for (const [name, value] of Object.entries(about)) input.setAttribute(name, value);
    input.addEventListener('input', () => this.open());
    input.addEventListener('keydown', (event) => this.#key(event));
    input.addEventListener('blur', () => this.close());
    // The input keeps the focus.
    on(this.popup, 'pointerdown', '[role=option]', (_, event) => event.preventDefault());
    on(this.popup, 'click', '[role=option]', (option) => this.#take(Number(option.dataset.index)));
  }

  /** Show what may stand where the caret is. */
  open() {
    const { value, selectionStart } = this.input;
    const where = place(value.slice(0, selectionStart ?? value.length));
    const found = choices(where, this.#seen);
    this.#from = where.from;
    // What is already written whole is no news.
    this.#choices = found.length === 1 && found[0].puts === where.typed ? [] : found;
    put(this.popup, this.#choices.map(({ text }, index) => h('li', { role: 'option', id: `${this.popup.id}-${index}`, 'data-index': index }, text)));
    this.popup.hidden = this.#choices.length === 0;
    this.input.ariaExpanded = String(!this.popup.hidden);
    this.#point(-1);
  }

  close() {
    this.popup.hidden = true;
    this.input.ariaExpanded = 'false';
    this.#point(-1);
  }

  /** @param {number} index none when -1 */
  #point(index) {
    this.#active = index;
    for (const option of this.popup.children) option.ariaSelected = String(option === this.popup.children[index]);
    const option = this.popup.children[index];
    if (option) this.input.setAttribute('aria-activedescendant', option.id);
    else this.input.removeAttribute('aria-activedescendant');
    option?.scrollIntoView({ block: 'nearest' });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.popup.hidden) this.open();
    else if (step) this.#point((this.#active + step + this.#choices.length + (this.#active < 0 && step < 0 ? 1 : 0)) % this.#choices.length);
    else if (event.key === 'Escape' && !this.popup.hidden) this.close();
    else if (event.key === 'Enter' && this.#active >= 0) this.#take(this.#active);
    else return;
    event.preventDefault();
  }

  /** @param {number} index */
  #take(index) {
    const { value, selectionStart } = this.input;
    const { puts } = this.#choices[index];
    const caret = selectionStart ?? value.length;
    const typed = value.slice(this.#from, caret);
    const rest = value.slice(caret).replace(typed === '' ? /^/ : /^[^\s()=!~<>,"]*"?/, '');
    this.input.value = value.slice(0, this.#from) + puts + rest;
    const end = this.#from + puts.length;
    this.input.setSelectionRange(end, end);
    this.close();
    // A field asks for its value, and so on; a value is followed by a space first.
    if (!/[\w"]$/.test(puts)) this.open();
  }
}

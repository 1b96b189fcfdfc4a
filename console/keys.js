// Keys: whatever carries `aria-keyshortcuts` is reached by that key, a field by being focused, the rest by a click. The
// sheet lists what there is on the page.

import { sheet } from './dialog.js';
import { h } from './dom.js';

const KEPT = 'autoheal.keys';

/** Whether single keys do something here (WCAG 2.1.4: some people's speech input types them by accident). */
let active = read();

/** @param {HTMLElement} button opens the sheet */
export function startKeys(button) {
  button.addEventListener('click', showKeys);
  document.addEventListener('keydown', (event) => {
    const name = nameOf(event);
    if (name === null || (!active && name !== '?') || isTyping(event.target) || document.querySelector('dialog[open]')) return;
    const found = reachable().find((element) => element.getAttribute('aria-keyshortcuts') === name);
    if (!found) return;
    event.preventDefault();
    if (found.matches('input, textarea, select')) found.focus();
    else found.click();
  });
}

/** @param {KeyboardEvent} event */
function nameOf(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.key.length !== 1) return null;
  return event.shiftKey && /[a-z]/i.test(event.key) ? `Shift+${event.key.toUpperCase()}` : event.key;
}

/** @param {EventTarget | null} target */
const isTyping = (target) =>
  target instanceof HTMLElement && target.matches('input:not([type=checkbox]), textarea, select, [contenteditable]');

/** @returns {HTMLElement[]} */
const reachable = () =>
  [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[aria-keyshortcuts]'))].filter(
    (element) => element.checkVisibility() && !element.matches(':disabled'),
  );

function showKeys() {
  const rows = reachable().map((element) => {
    const name = element.getAttribute('aria-label') ?? element.textContent ?? '';
    const key = element.getAttribute('aria-keyshortcuts') ?? '';
    return [h('dt', {}, h('kbd', {}, key)), h('dd', {}, name.replace(/…$/, ''))];
  });
  const box = h('input', { type: 'checkbox', id: 'keys-active', checked: active });
  box.addEventListener('change', () => keep(box.checked));
  sheet(
    'Keys',
    h('dl', { class: 'keys' }, ...rows, h('dt', {}, h('kbd', {}, 'Esc')), h('dd', {}, 'close what is open')),
    h('p', {}, box, ' ', h('label', { for: 'keys-active' }, 'Single keys are shortcuts')),
  );
}

/** @param {boolean} on */
function keep(on) {
  active = on;
  try {
    localStorage.setItem(KEPT, on ? 'on' : 'off');
  } catch {
    // Then it is for this page alone.
  }
}

function read() {
  try {
    return localStorage.getItem(KEPT) !== 'off';
  } catch {
    return true;
  }
}

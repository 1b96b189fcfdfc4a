// Dialogs: what somebody is asked before something is done, or shown for a moment.

import { announce, h, put } from './dom.js';

/** @import { Child } from './dom.js' */

let dialogs = 0;

/** Show these until they are closed. @param {string} title @param {...Child} children @returns {HTMLDialogElement} */
export function sheet(title, ...children) {
  const close = h('button', { type: 'button' }, 'Close');
  const dialog = open(title, ...children, h('div', { class: 'buttons' }, close));
  close.addEventListener('click', () => dialog.close());
  return dialog;
}

/**
 * Ask, and do it when that is what they want. `act` gets what was filled in by the fields' names; what it throws is shown,
 * and they may try again.
 *
 * @param {string} title @param {Child[]} fields @param {string} label of the button that does it
 * @param {(given: Record<string, string>) => Promise<unknown>} act @returns {HTMLDialogElement}
 */
export function ask(title, fields, label, act) {
  const fault = h('p', { class: 'fault', role: 'alert' });
  const go = h('button', { type: 'submit', class: 'main' }, label);
  const back = h('button', { type: 'button' }, 'Back');
  const form = h('form', {}, ...fields, fault, h('div', { class: 'buttons' }, back, go));
  const dialog = open(title, form);
  back.addEventListener('click', () => dialog.close());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    put(fault);
    try {
      await act(Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()])));
      dialog.close();
    } catch (error) {
      const { message, status } = /** @type {any} */ (error);
      const again = status === 401 && [' ', h('a', { href: '/console/login.html', target: '_blank' }, 'Log in in another tab'), ', then try again here.'];
      put(fault, message, ...(again || []));
      // Whoever has closed it meanwhile is to know too.
      if (!dialog.open) announce(message);
      go.disabled = false;
    }
  });
  return dialog;
}

/** A field with its name above. @param {string} text @param {HTMLElement} control with an id @param {string} [hint] */
export function field(text, control, hint) {
  return h('p', { class: 'field' }, h('label', { for: control.id }, text), control, hint ? h('small', {}, hint) : null);
}

/** @param {string} title @param {...Child} children */
function open(title, ...children) {
  const id = `dialog-${++dialogs}`;
  const dialog = h('dialog', { 'aria-labelledby': id }, h('h2', { id }, title), ...children);
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

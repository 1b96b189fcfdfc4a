// Dark or light: as the system has it, or as somebody wanted it here. Runs before the page is first painted.

import { put, s } from './dom.js';

const NAMES = ['system', 'dark', 'light'];
const KEPT = 'autoheal.theme';
const HALF = 'M8 .5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15ZM8 14V2a6 6 0 0 0 0 12Z';

/** Show the page in this theme. @param {string} name */
function apply(name) {
  if (name === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

/** What was wanted last, in this browser. */
function wanted() {
  try {
    const name = localStorage.getItem(KEPT);
    return name !== null && NAMES.includes(name) ? name : 'system';
  } catch {
    return 'system'; // a browser that keeps nothing
  }
}

/** Let a button go through the themes. @param {HTMLElement} button */
export function themeSwitch(button) {
  let name = wanted();
  put(button, s('svg', { viewBox: '0 0 16 16', class: 'glyph', 'aria-hidden': 'true' }, s('path', { d: HALF, 'fill-rule': 'evenodd' })));
  const show = () => {
    apply(name);
    button.ariaLabel = button.title = `Theme: ${name}`;
  };
  button.addEventListener('click', () => {
    name = NAMES[(NAMES.indexOf(name) + 1) % NAMES.length];
    try {
      localStorage.setItem(KEPT, name);
    } catch {
      // Then it is for this page alone.
    }
    show();
  });
  show();
}

apply(wanted());

// Dark or light: as the system has it, or as somebody wanted it here. Runs before the page is first painted.

const NAMES = ['system', 'dark', 'light'];
const KEPT = 'autoheal.theme';

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
  const show = () => {
    apply(name);
    button.textContent = `Theme: ${name}`;
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

// Views that are fetched when somebody first looks at them, style and all, so that the page itself is there at once.

import { h, put } from './dom.js';
import { outdated } from './notices.js';

/** @import { Shown, View } from './routes.js' */

/** Style sheets that are there or come. @type {Map<string, Promise<void>>} */
const sheets = new Map();

/** @param {string} name @returns {Promise<void>} */
function styled(name) {
  const known = sheets.get(name);
  if (known) return known;
  const link = h('link', { rel: 'stylesheet', href: `/console/${name}` });
  /** @type {Promise<void>} */
  const comes = new Promise((then, otherwise) => {
    link.addEventListener('load', () => then());
    link.addEventListener('error', () => {
      link.remove();
      sheets.delete(name);
      otherwise(new Error(`${name} cannot be fetched`));
    });
  });
  sheets.set(name, comes);
  document.head.append(link);
  return comes;
}

/** @param {string} title @param {() => Promise<View>} load @param {{count?: View['count'], sheet?: string}} [more] @returns {View} */
export function later(title, load, { count, sheet } = {}) {
  return {
    title,
    count,
    render(root, store, params) {
      /** @type {Shown | null} */
      let shown = null;
      let closed = false;
      let failed = false;
      /** Whether the gateway was away when it was last looked at. */
      let away = false;
      const fetched = () => {
        failed = false;
        put(root, h('p', { class: 'none', role: 'status' }, 'Loading…'));
        Promise.all([load(), sheet && styled(sheet)])
          .then(([view]) => {
            if (closed) return;
            shown = view.render(root, store, params);
            shown.update();
          })
          .catch((error) => {
            if (closed) return;
            failed = true;
            console.warn(error);
            put(root, h('p', { class: 'fault', role: 'alert' }, 'This view cannot be shown: the gateway does not answer, or is another version by now. Reload the page.'));
          });
      };
      fetched();
      return {
        update() {
          const { status } = store.connection;
          if (failed && away && status === 'live') outdated(store) ? location.reload() : fetched();
          away = status !== 'live';
          shown?.update();
        },
        close() {
          closed = true;
          shown?.close();
        },
      };
    },
  };
}

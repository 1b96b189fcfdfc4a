// Views whose modules are fetched when somebody first looks at them, so that the page itself is there at once.

import { h, put } from './dom.js';

/** @import { Shown, View } from './routes.js' */

/** @param {string} title @param {() => Promise<View>} load @param {View['count']} [count] @returns {View} */
export function later(title, load, count) {
  return {
    title,
    count,
    render(root, store, params) {
      /** @type {Shown | null} */
      let shown = null;
      let closed = false;
      load().then(
        (view) => {
          if (closed) return;
          shown = view.render(root, store, params);
          shown.update();
        },
        () => closed || put(root, h('p', { class: 'fault', role: 'alert' }, 'The gateway does not answer: this view cannot be shown. Come back to it, or reload the page.')),
      );
      return {
        update: () => shown?.update(),
        close() {
          closed = true;
          shown?.close();
        },
      };
    },
  };
}

// Acknowledgements: which hold, and what they cover.

import { lasts } from './time.js';

/** @import { Fields, State } from './fold.js' */

const MATCHER = /("(?:[^"\\]|\\.)*"|[^\s"=!~,{}]+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"/gs;

/** Those that hold at `now` (epoch seconds), the first to end first. @param {State} state @param {number} now @returns {Fields[]} */
export const holding = (state, now) =>
  [...state.silences.values()].filter(({ ends_at: end }) => lasts(end, now)).sort((one, other) => one.ends_at - other.ends_at);

/**
 * Whether an acknowledgement covers an alert. One with a regular expression is not tried here: the alert's labels are
 * anybody's, and a browser's matching can be made to take for ever. @param {string} matchers @param {Record<string, string>} labels
 */
export function covers(matchers, labels) {
  const found = [...matchers.matchAll(MATCHER)];
  if (found.length === 0 || found.map(([text]) => text).join(', ') !== matchers) return false;
  return found.every(([, quoted, operator, value]) => {
    const name = quoted.startsWith('"') ? plain(quoted.slice(1, -1)) : quoted;
    const same = (Object.hasOwn(labels, name) ? labels[name] : '') === plain(value);
    return operator === '=' ? same : operator === '!=' && !same;
  });
}

/** @param {string} text */
const plain = (text) => text.replace(/\\(.)/gs, (_, letter) => (letter === 'n' ? '\n' : letter));

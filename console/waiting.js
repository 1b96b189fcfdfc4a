// What waits for a person's word: the navigation counts it, whichever view is shown.

/** @import { Fields, State } from './fold.js' */
/** @import { Store } from './store.js' */

/** The runs that wait for a word, whose time is over first. @param {State} state @returns {Fields[]} */
export function waiting(state) {
  const found = [...state.runs.values()].filter(({ state: stands, approval }) => stands === 'awaiting_approval' && approval);
  return found.sort((one, other) => one.approval.expires_at - other.approval.expires_at);
}

/** How much waits. @param {Store} store */
export const count = (store) => waiting(store.state).length + [...store.state.storms.values()].filter(({ held }) => Object.keys(held).length).length;

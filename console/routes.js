// The views there are, and the addresses they have. A view is a module with
//
//   title   its name in the navigation
//   render(root, store, params) -> { update(), close() }   draws into root; update is called once a frame after changes
//
// and one line here; what is not needed at once comes `later`. `params` is what the address says beside the view's name.
// `count(store)`, where there is one, is what the navigation shows beside the title: how much there waits for somebody.

import { later } from './later.js';
import * as live from './view-live.js';
import * as now from './view-now.js';
import { count } from './waiting.js';

/** @import { Store } from './store.js' */

/**
 * @typedef {{id: string, query: URLSearchParams}} Params `#/name/id?query`
 * @typedef {{update: () => void, close: () => void}} Shown
 * @typedef {{title: string, render: (root: HTMLElement, store: Store, params: Params) => Shown, count?: (store: Store) => number}} View
 * @typedef {{name: string, view: View, nav?: boolean}} Route `nav`: false for what other views lead to
 */

/** In the order of the navigation, where the keys 1, 2, 3 … lead to them. The first is where a bare address leads. */
/** @type {readonly Route[]} */
export const ROUTES = [
  { name: 'now', view: now },
  { name: 'live', view: live },
  { name: 'approvals', view: later('Approvals', () => import('./view-approvals.js'), { count, sheet: 'answered.css' }) },
  { name: 'audit', view: later('Audit', () => import('./view-audit.js'), { sheet: 'audit.css' }) },
  { name: 'rules', view: later('Rules', () => import('./view-rules.js'), { sheet: 'rules.css' }) },
  { name: 'pictures', view: later('Pictures', () => import('./view-pictures.js'), { sheet: 'pictures.css' }) },
  { name: 'runs', view: later('Run', () => import('./view-run.js')), nav: false },
];

/** What an address names; the first view for one that names none. @param {string} hash @returns {{route: Route, params: Params}} */
export function parse(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const [name, id = ''] = path.split('/');
  const route = ROUTES.find((one) => one.name === name) ?? ROUTES[0];
  return { route, params: { id: decoded(id), query: new URLSearchParams(query) } };
}

/** The address of a view. @param {string} name @param {string} [id] @param {Record<string, string>} [query] */
export function address(name, id = '', query = {}) {
  const search = new URLSearchParams(query).toString();
  return `#/${name}${id && `/${encodeURIComponent(id)}`}${search && `?${search}`}`;
}

/** A link's text is anybody's. @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// What everybody must know, above every view: why nothing is done, or what is shown may be wrong.

import { h, list, on } from './dom.js';
import { resumeDialog } from './pause.js';
import { lasts, local, present, utc } from './time.js';

/** @import { Fields } from './fold.js' */
/** @import { Store } from './store.js' */

/**
 * @typedef {object} Notice
 * @property {'stop' | 'care' | 'note'} weight
 * @property {string} title @property {string} [text]
 * @property {string} [hover] the times in the text, as the log has them
 * @property {string | null} [resume] the rule whose pause can be taken back; null for that of everything
 */

/** What there is to tell, the gravest first; each a sentence. @param {Store} store @param {number} now @returns {Notice[]} */
export function notices(store, now) {
  const pauses = store.state.pauses.flatMap((pause) => ofPause(pause, store, now));
  return [...ofConnection(store, now), ...ofPage(store), ...ofGateway(store), ...pauses, ...ofSettings(store)];
}

/** @param {Store} store @param {number} now @returns {Notice[]} */
function ofConnection({ connection: { status, heard, why } }, now) {
  if (status !== 'down') return [];
  const since = heard === null ? '' : ` Last heard at ${local(heard, now)}: what you see is from then.`;
  return [{ weight: 'stop', title: 'No connection to the gateway.', text: `${why ?? ''}${since} Trying again.`.trim(), ...(heard !== null && { hover: utc(heard) }) }];
}

/** Whether the gateway is another version than the page. @param {Pick<Store, 'version' | 'overview'>} store */
export const outdated = ({ version, overview }) => overview !== null && overview.version !== version;

/** @param {Store} store @returns {Notice[]} */
function ofPage({ fault, flaw, version, overview }) {
  const wrong = fault ?? flaw;
  if (wrong !== null) return [{ weight: 'stop', title: 'This page has lost its way.', text: `Reload it. ${wrong}` }];
  if (!outdated({ version, overview })) return [];
  return [{ weight: 'care', title: 'The gateway is another version by now.', text: 'Reload this page: it may show things wrongly.' }];
}

/** @param {Store} store @returns {Notice[]} */
function ofGateway({ overview, state }) {
  /** @type {Notice[]} */
  const found = [];
  if (overview && overview.status !== 'ok') {
    found.push({ weight: 'stop', title: 'The audit log cannot be written.', text: 'No alert is taken in and no action starts until it can.' });
  }
  if (state.space_low) {
    found.push({ weight: 'stop', title: 'The disk of the audit log is nearly full.', text: 'No live run begins.' });
  }
  if (state.watchdog_missing) {
    const more = overview?.warnings.find(ofWatchdog) ?? 'The alert that always fires stays away.';
    found.push({ weight: 'stop', title: 'Alertmanager is silent: alerts may no longer arrive.', text: more });
  }
  return found;
}

/** @param {Fields} pause @param {Store} store @param {number} now @returns {Notice[]} */
function ofPause({ rule, how, actor, reason, since, until }, store, now) {
  if (!lasts(until, now)) return [];
  const who = how === 'file' ? 'by the file PAUSE in the data directory; remove it to resume' : `by ${actor}`;
  const end = until === null ? 'until resumed' : `until ${local(until, now)}`;
  return [
    {
      weight: rule === null ? 'stop' : 'care',
      title: rule === null ? 'Everything is paused.' : `Rule ${rule} is paused.`,
      text: `${reason}, ${who}, since ${local(since, now)}, ${end}`,
      hover: [since, ...(until === null ? [] : [until])].map(utc).join(', '),
      ...(how !== 'file' && store.may('operator') && { resume: rule }),
    },
  ];
}

/** Whether a warning of `GET /` tells more of the alert that always fires. @param {string} text */
const ofWatchdog = (text) => text.includes('(AUTOHEAL_WATCHDOG)');

/** @param {Store} store @returns {Notice[]} */
function ofSettings({ overview, state }) {
  if (!overview) return [];
  /** @type {Notice[]} */
  const found = overview.warnings
    .filter((/** @type {string} */ text) => !state.watchdog_missing || !ofWatchdog(text))
    .map((/** @type {string} */ text) => ({ weight: 'care', title: 'Warning.', text }));
  if (!overview.enabled) found.push({ weight: 'care', title: 'Switched off.', text: 'Alerts are recorded; no rule acts (AUTOHEAL_ENABLED).' });
  if (overview.dry_run) found.push({ weight: 'note', title: 'Dry run.', text: 'Live rules only say what they would do.' });
  if (!overview.oidc) found.push({ weight: 'note', title: 'No login.', text: 'Whoever is on this machine may do everything.' });
  return found;
}

/** Keep `root` at what there is to tell. @param {HTMLElement} root @param {Store} store */
export function startNotices(root, store) {
  on(root, 'click', 'button', ({ dataset }) => resumeDialog(dataset.rule ?? null));
  store.subscribe(() => {
    // As text, so that one that says the same stays, and its button keeps the focus.
    const found = notices(store, present()).map((notice) => JSON.stringify(notice));
    root.hidden = found.length === 0;
    list(root, found, (text) => text, (text) => shown(JSON.parse(text)));
  });
}

/** @param {Notice} notice */
function shown({ weight, title, text, hover, resume }) {
  const name = resume === null || resume === undefined ? 'Resume' : `Resume rule ${resume}`;
  const button = h('button', { type: 'button', 'data-rule': resume, 'aria-label': name }, 'Resume…');
  return h('p', { class: `notice ${weight}` }, h('span', { title: hover }, h('strong', {}, title), ' ', text), resume !== undefined && button);
}

// Pictures: alerts, actions, heals and how long they took, over time, counted from the log itself.

import { bars, dots, taken } from './charts.js';
import { h, put, say } from './dom.js';
import { COUNTED, SPANS, quantile, tally } from './numbers.js';
import { address } from './routes.js';
import { search } from './search.js';
import { local, present, seconds, utc } from './time.js';
import { time } from './words.js';

/** @import { Ground } from './charts.js' */
/** @import { Slot } from './numbers.js' */
/** @import { Params } from './routes.js' */
/** @import { Found } from './search.js' */
/** @import { Store } from './store.js' */

export const title = 'Pictures';

/** What one look may fetch: so many records, by so many requests. */
const RECORDS = 30_000;
const ROUNDS = 8;

/** @param {HTMLElement} root @param {Store} store @param {Params} params */
export function render(root, store, { query }) {
  const asked = query.get('since') ?? '';
  const view = new Pictures(store, /** @type {keyof typeof SPANS} */ (Object.hasOwn(SPANS, asked) ? asked : '24h'));
  put(root, h('h2', { class: 'unseen' }, title), ...view.parts());
  view.load();
  return { update: () => view.update(), close: () => view.close() };
}

class Pictures {
  #store;
  #span;
  #told = h('p', { class: 'count', role: 'status' });
  #charts = h('div', { class: 'charts' });
  #table = h('div', {});
  #elsewhere = h('p', { class: 'bar elsewhere' });
  /** @type {unknown} */
  #links = null;
  /** @type {{slots: Slot[], covered: number} | null} */
  #known = null;
  /** Counts looks: an answer to an earlier one is none. */
  #life = 0;
  #watch = new ResizeObserver(() => this.#draw());

  /** @param {Store} store @param {keyof typeof SPANS} span */
  constructor(store, span) {
    this.#store = store;
    this.#span = span;
    this.#watch.observe(this.#charts);
  }

  parts() {
    const again = h('button', { type: 'button' }, 'Refresh');
    again.addEventListener('click', () => this.load());
    const spans = Object.entries(SPANS).map(([since, { name }]) => h('a', { href: address('pictures', '', { since }), 'aria-current': since === this.#span && 'true' }, name));
    const choice = h('nav', { class: 'spans', 'aria-label': 'Time' }, spans);
    return [h('div', { class: 'bar' }, choice, again, this.#told), this.#charts, this.#table, this.#elsewhere];
  }

  /** Links come with the state. */
  update() {
    const { links } = this.#store;
    if (links === this.#links) return;
    this.#links = links;
    put(this.#elsewhere, 'Elsewhere: ', ...elsewhere(links));
  }

  close() {
    this.#life += 1;
    this.#watch.disconnect();
  }

  /** Count anew. */
  async load() {
    const life = ++this.#life;
    const { length, step } = SPANS[this.#span];
    const now = present();
    say(this.#told, 'Counting…');
    try {
      const found = await search({ q: COUNTED, since: utc(now - length) }, RECORDS, ROUNDS);
      if (life !== this.#life) return;
      const slots = tally(found.records, now - length, now, step, -new Date().getTimezoneOffset() * 60);
      const oldest = found.records.at(-1);
      this.#known = { slots, covered: found.next === null ? now - length : oldest ? seconds(oldest.ts) : now };
      put(this.#told, ...coverage(found, now));
      this.#draw();
      put(this.#table, table(slots));
    } catch (error) {
      if (life === this.#life) put(this.#told, h('span', { class: 'fault' }, /** @type {Error} */ (error).message));
    }
  }

  #draw() {
    if (!this.#known) return;
    put(this.#charts, ...pictures({ ...this.#known, width: Math.max(280, Math.floor(this.#charts.clientWidth)) }));
  }
}

/** @param {Found} found @param {number} now */
function coverage({ records, next, unread }, now) {
  const oldest = records.at(-1);
  const cut = oldest ? ['These are the newest ', `${records.length} records, from `, time(seconds(oldest.ts)), ' on: there is more than is counted here.'] : ['The search stopped before it found anything: try a shorter time.'];
  const lost = unread.length ? ` ${unread.length} ${unread.length === 1 ? 'file' : 'files'} of the log could not be read.` : '';
  return [...(next === null ? [`${records.length} records, as of `, time(now), '.'] : cut), lost];
}

/** @param {Ground} ground */
function pictures(ground) {
  const sum = (/** @type {'alerts' | 'done' | 'failed' | 'dry' | 'healed' | 'unhealed' | 'left'} */ field) => ground.slots.reduce((all, slot) => all + slot[field], 0);
  const times = (/** @type {'sinceAlert' | 'sinceAction'} */ field) => quantile(ground.slots.flatMap((slot) => slot[field]), 0.5);
  const [alert, action] = [times('sinceAlert'), times('sinceAction')];
  const median = alert === null ? 'nothing was healed' : `median ${taken(alert)} since the alert${action === null ? '' : `, ${taken(action)} since the first action`}`;
  return [
    bars('Alerts', `${sum('alerts')} began to fire`, [{ field: 'alerts', tone: 'other', name: 'firing' }], ground),
    bars(
      'Actions',
      `${sum('done')} done, ${sum('failed')} failed, ${sum('dry')} dry runs`,
      [{ field: 'done', tone: 'success', name: 'done' }, { field: 'dry', tone: 'dry', name: 'dry run' }, { field: 'failed', tone: 'failure', name: 'failed', down: true }],
      ground,
    ),
    bars(
      'Heals',
      `${sum('healed')} healed, ${sum('unhealed')} not, ${sum('left')} left to people`,
      [{ field: 'healed', tone: 'success', name: 'healed' }, { field: 'unhealed', tone: 'failure', name: 'not healed', down: true }],
      ground,
    ),
    dots('Time to heal', median, ground),
  ];
}

const COLUMNS = ['From', 'Alerts', 'Done', 'Failed', 'Dry runs', 'Healed', 'Not healed', 'Left to people', 'Since alert', 'Since action'];

/** The same numbers; steps without any are left out. @param {Slot[]} slots */
function table(slots) {
  const told = slots.filter((slot) => slot.alerts + slot.done + slot.failed + slot.dry + slot.healed + slot.unhealed + slot.left > 0);
  const rows = told.map((slot) => {
    const { from, to, alerts, done, failed, dry, healed, unhealed, left } = slot;
    const where = address('audit', '', { q: COUNTED, since: utc(from), until: utc(to) });
    const medians = [slot.sinceAlert, slot.sinceAction].map((all) => quantile(all, 0.5)).map((found) => (found === null ? '–' : taken(found)));
    const cells = [alerts, done, failed, dry, healed, unhealed, left, ...medians].map((text) => h('td', {}, text));
    return h('tr', {}, h('th', { scope: 'row' }, h('a', { href: where, title: utc(from) }, local(from, present()).slice(0, -3))), cells);
  });
  const head = h('thead', {}, h('tr', {}, COLUMNS.map((name) => h('th', { scope: 'col' }, name))));
  const body = rows.length ? h('tbody', {}, rows) : h('tbody', {}, h('tr', {}, h('td', { colspan: COLUMNS.length }, 'Nothing happened.')));
  const scrolled = h('div', { class: 'scrolled', tabindex: 0, role: 'region', 'aria-label': 'Numbers' }, h('table', {}, h('caption', {}, 'By step of time; medians of the time to heal'), head, body));
  return h('details', { class: 'numbers' }, h('summary', {}, 'The same numbers as a table'), scrolled);
}

/** @param {Record<string, string[]>} links */
function elsewhere(links) {
  const named = [['Grafana', links.grafana ?? []], ['Alertmanager', links.alertmanager ?? []], ['Prometheus', links.prometheus ?? []]];
  const others = /** @type {[string, string[]][]} */ (named).flatMap(([name, urls]) => urls.map((url, index) => h('a', { href: url, rel: 'noreferrer' }, urls.length > 1 ? `${name} ${index + 1}` : name)));
  const own = [['/healthz', 'Health'], ['/readyz', 'Readiness'], ['/metrics', 'Metrics']].map(([href, name]) => h('a', { href }, name));
  return [...others, ...own];
}

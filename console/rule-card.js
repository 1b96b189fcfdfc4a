// One rule: a line that tells how it does, and all about it when it is unfolded.

import { standing } from './asking.js';
import { h, put, s } from './dom.js';
import { NONE, compare, rate, wilson } from './rates.js';
import { address } from './routes.js';
import { chips, facts, guards } from './rule-words.js';
import { quoted, search } from './searching.js';
import { duration, present, seconds } from './time.js';
import { time } from './words.js';

/** @import { Fields } from './fold.js' */
/** @import { Group, Tally } from './rates.js' */
/** @import { Store } from './store.js' */

const LAST_RUNS = 5;
/** Beyond so many names of alerts their ends are searched by kind alone: a filter has an end (docs/query.md). */
const NAMES = 8;

/** @typedef {{rule: Fields, all: Fields[], tally?: Tally, since: string, partly: boolean}} About */

export class RuleCard {
  element = h('details', { class: 'rule' });
  #store;
  #parts = {
    summary: h('summary'),
    rule: h('dl'),
    guards: h('dl'),
    counts: h('dl'),
    compared: h('div'),
    runs: h('ol', { class: 'last' }),
    buttons: h('div', { class: 'buttons' }),
  };
  /** What each part was drawn from. @type {Map<Element, string>} */
  #drawn = new Map();
  /** The range whose hold-outs are shown or searched for. */
  #compared = '';
  /** @type {About | null} */
  #about = null;

  /** @param {Store} store */
  constructor(store) {
    this.#store = store;
    const { summary, rule, guards: standing, counts, compared, runs, buttons } = this.#parts;
    const titled = (/** @type {string} */ text, /** @type {...Element} */ ...parts) => h('section', {}, h('h3', {}, text), ...parts);
    const body = [titled('The rule', rule), titled('What guards remember', standing), titled('What became of it', counts, compared), titled('Last runs', runs)];
    put(this.element, summary, h('div', { class: 'about' }, ...body), buttons);
    this.element.addEventListener('toggle', () => this.#about && this.update(this.#about));
  }

  /** @param {About} about */
  update(about) {
    this.#about = about;
    const { rule, all, tally = NONE, since, partly } = about;
    const { state } = this.#store;
    const now = present();
    const told = chips(rule, state.pauses, now);
    this.#draw(this.#parts.summary, [told, tally, partly], () => summary(rule, told, tally));
    if (!this.element.open) return;
    this.#draw(this.#parts.rule, facts(rule), (rows) => pairs(rows));
    this.#draw(this.#parts.guards, guards(rule, all, now), (rows) => pairs(rows));
    this.#draw(this.#parts.counts, counts(tally), (rows) => pairs(rows));
    const runs = [...state.runs.values()].filter(({ rule: of }) => of === rule.name).slice(-LAST_RUNS).reverse();
    this.#draw(this.#parts.runs, runs.map(({ plan: _, ...run }) => run), () => (runs.length ? runs.map(lastRun) : [h('li', { class: 'quiet' }, 'None is known.')]));
    const paused = told.some(({ text }) => text === 'paused');
    const mended = rule.state.failures > 0 || rule.state.breaker_open_since !== null || rule.state.demoted;
    this.#draw(this.#parts.buttons, [this.#store.may('operator'), paused, mended], ([may]) => (may ? buttons(rule.name, paused, mended) : []));
    if ((rule.rollout < 100 || tally.heldOut > 0) && this.#compared !== since) this.#compare(rule.name, since);
  }

  /** @template K @param {Element} part @param {K} from @param {(from: K) => import('./dom.js').Child[]} make */
  #draw(part, from, make) {
    const text = JSON.stringify(from);
    if (this.#drawn.get(part) === text) return;
    this.#drawn.set(part, text);
    put(part, ...make(from));
  }

  /** @param {string} rule @param {string} since */
  async #compare(rule, since) {
    this.#compared = since;
    const part = this.#parts.compared;
    put(part, h('p', { class: 'quiet' }, 'Comparing with what was left alone …'));
    try {
      const decisions = await search(`rule=${quoted(rule)} AND kind=decision AND reason IN (act, awaiting_approval, hold_out)`, since);
      const names = [...new Set(decisions.records.map(({ alertname }) => alertname))];
      const named = names.length > 0 && names.length <= NAMES && names.every(Boolean);
      const ends = await search(`kind=alert_resolved${named ? ` AND alertname IN (${names.map(quoted).join(', ')})` : ''}`, since);
      if (this.#compared !== since) return;
      put(part, ...comparison(compare(decisions.records, ends.records), decisions.whole && ends.whole));
    } catch (error) {
      if (this.#compared === since) put(part, h('p', { class: 'fault' }, /** @type {Error} */ (error).message));
    }
  }
}

/** @param {Fields} rule @param {ReturnType<typeof chips>} told @param {Tally} tally */
function summary({ name, match }, told, { healed, left, dry, heldOut }) {
  const others = [dry > 0 && `${dry} dry`, heldOut > 0 && `${heldOut} held out`].filter(Boolean).join(', ');
  return [
    h('b', {}, name),
    h('span', { class: 'chips' }, ...told.flatMap(({ text, weight, why }) => [h('span', { class: `chip ${weight}`, title: why }, text), ' '])),
    h('span', { class: 'match' }, match),
    h('span', { class: 'rate' }, bar(healed, healed + left), h('span', {}, healed + left > 0 ? `healed ${rate(healed, healed + left)}` : 'no run judged', others && h('span', { class: 'quiet' }, ` · ${others}`))),
  ];
}

/** A share and its interval, for the eye; the numbers stand beside it. @param {number} k @param {number} n */
function bar(k, n) {
  if (n === 0) return null;
  const [low, high] = wilson(k, n).map((share) => share * 100);
  return s(
    'svg',
    { class: 'interval', viewBox: '-5 0 110 12', 'aria-hidden': 'true' },
    s('path', { class: 'ground', d: 'M0 6H100' }),
    s('path', { class: 'span', d: `M${low.toFixed(1)} 6H${high.toFixed(1)}` }),
    s('circle', { cx: ((100 * k) / n).toFixed(1), cy: 6, r: 4 }),
  );
}

/** @param {[string, string, string?][]} rows */
const pairs = (rows) => rows.flatMap(([name, text, title]) => [h('dt', {}, name), h('dd', { title }, text)]);

/** @param {Tally} tally @returns {[string, string][]} */
function counts({ healed, left, stopped, dry, heldOut }) {
  /** @type {[string, string | number][]} */
  const rows = [
    ['Healed', healed + left ? `${rate(healed, healed + left)} of those that acted and were judged` : 'none was judged'],
    ['Left to people', left],
    ['Stopped before the first step', stopped],
    ['Dry runs', dry],
    ['Held out', heldOut],
  ];
  return rows.filter(([, count]) => count !== 0).map(([name, count]) => [name, String(count)]);
}

/** @param {{acted: Group, heldOut: Group}} groups @param {boolean} whole */
function comparison({ acted, heldOut }, whole) {
  const row = (/** @type {string} */ name, /** @type {Group} */ { n, resolved, median }) => [name, rate(resolved, n), Number.isFinite(median) ? duration(median) : n ? 'fewer than half have ended' : ''];
  return [
    table('Did it help? From the decision to the alert’s end', ['Episodes', 'Ended', 'Half of them after'], [row('Acted on', acted), row('Left alone', heldOut)]),
    !whole && h('p', { class: 'quiet' }, 'There is more in this range than is read at a time, or can be read: this is a part.'),
  ];
}

/** @param {string} caption @param {string[]} heads @param {string[][]} rows */
function table(caption, heads, rows) {
  const head = heads.map((text) => (text ? h('th', { scope: 'col' }, text) : h('td')));
  const body = rows.map(([name, ...cells]) => h('tr', {}, h('th', { scope: 'row' }, name), ...cells.map((text) => h('td', {}, text))));
  return h('table', {}, h('caption', {}, caption), h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...body));
}

/** @param {Fields} run */
function lastRun(run) {
  const { id, target, state, mode, created_at, alertname } = run;
  const tone = state === 'healed' ? 'success' : ['escalated', 'expired'].includes(state) ? 'failure' : mode === 'dry_run' ? 'dry' : 'other';
  return h('li', { class: tone }, time(created_at), ' ', h('a', { href: address('runs', id) }, `${alertname || id} → ${target}`), ' ', h('b', {}, standing(run)));
}

/** @param {string} rule @param {boolean} paused @param {boolean} mended whether there is something to reset */
function buttons(rule, paused, mended) {
  const button = (/** @type {string} */ word, /** @type {string} */ text) => h('button', { type: 'button', 'data-do': word, 'data-rule': rule, 'aria-label': `${text} rule ${rule}` }, `${text}…`);
  return [mended && button('reset', 'Reset breaker of'), paused ? button('resume', 'Resume') : button('pause', 'Pause')];
}

/** When a record of the log was written, for the sentence that says how far numbers reach. @param {string} ts */
export const reach = (ts) => time(seconds(ts));

// The timeline of one run, from the firing of its alert to its end: each record, and what each guard said.

import { Refused } from './api.js';
import { h, list, on, put, say } from './dom.js';
import { concerns, history } from './history.js';
import { button, chips, countdown, sentence, startButtons, tick } from './parts.js';
import { address } from './routes.js';
import { present, seconds } from './time.js';
import { glyph, tone } from './tones.js';
import { spoken, utcs, when, whole } from './words.js';
import { length, told } from './words-record.js';
import { ended, promised, standing } from './words-run.js';
import { verdict } from './words-why.js';

/** @import { Entry, Fields } from './fold.js' */
/** @import { History } from './history.js' */
/** @import { Params } from './routes.js' */
/** @import { Store } from './store.js' */

export const title = 'Run';

/** So long after a failure its records are asked for again. */
const AGAIN_MS = 5000;

/** @param {HTMLElement} root @param {Store} store @param {Params} params */
export function render(root, store, { id }) {
  const view = new Timeline(store, id, root);
  return { update: () => view.update(), close: () => view.close() };
}

class Timeline {
  #store;
  #id;
  #head = h('div', { class: 'run' });
  #note = h('p', { class: 'note', role: 'status' }, 'Looking for it…');
  #rows = h('ol', { class: 'timeline', 'aria-label': 'Records, oldest first' });
  /** @type {History | null} */
  #history = null;
  /** The last seq that was looked at. */
  #seen = 0;
  #log = '';
  #loading = false;
  #failedAt = -Infinity;
  #closed = false;
  /** @type {unknown[]} */
  #drawn = [];

  /** @param {Store} store @param {string} id @param {HTMLElement} root */
  constructor(store, id, root) {
    this.#store = store;
    this.#id = id;
    put(root, this.#head, this.#note, this.#rows);
    startButtons(this.#head);
    on(this.#rows, 'toggle', 'details.record', (details) => {
      const record = shown.get(details);
      if (record && details.childElementCount === 1) details.append(whole(record));
    });
  }

  update() {
    const { records, state, connection } = this.#store;
    if (connection.status === 'connecting' || this.#loading) return;
    // What is not among the newest records any more is asked for, and all of it after another log has begun.
    if (this.#log !== state.head.log || (records[0]?.seq ?? 0) > this.#seen + 1) return void (Date.now() - this.#failedAt > AGAIN_MS && this.#load());
    const history = this.#history;
    const about = history?.records.find(({ run }) => run === this.#id);
    if (!history || !about) return;
    const known = new Set(history.records.map(({ seq }) => seq));
    const come = records.filter((record) => record.seq > this.#seen && !known.has(record.seq) && concerns(record, this.#id, about));
    this.#seen = Math.max(this.#seen, records.at(-1)?.seq ?? 0);
    if (come.length) this.#history = { ...history, records: [...history.records, ...come].sort((one, other) => one.seq - other.seq) };
    this.#draw();
    tick(this.#head, present());
  }

  close() {
    this.#closed = true;
  }

  async #load() {
    this.#loading = true;
    const { head } = this.#store.state;
    try {
      this.#history = await history(this.#id);
      say(this.#note, noteOf(this.#history));
      this.#seen = head.seq;
      this.#log = head.log;
    } catch (error) {
      say(this.#note, `${error instanceof Refused ? error.message : error} It is tried again soon.`);
      this.#failedAt = Date.now();
    }
    this.#loading = false;
    if (!this.#closed) this.update();
  }

  #draw() {
    const { records, summary } = /** @type {History} */ (this.#history);
    const run = this.#store.state.runs.get(this.#id) ?? null;
    const made = records.find((record) => record.run === this.#id && record.detail?.plan?.steps);
    const plan = run?.plan ?? summary?.plan ?? made?.detail?.plan ?? null;
    const parts = [records, run, this.#store.state.episodes.get(records[0].fingerprint), this.#store.may('operator')];
    if (parts.every((part, index) => part === this.#drawn[index])) return;
    this.#drawn = parts;
    this.#showHead(records, run, plan);
    list(this.#rows, records, ({ seq }) => String(seq), (record) => row(record, records));
  }

  /** @param {Entry[]} records @param {Fields | null} run @param {Fields | null} plan */
  #showHead(records, run, plan) {
    const own = records.filter((record) => record.run === this.#id);
    const { alertname = '', rule, target, episode: number, fingerprint } = own[0] ?? records[0];
    const steps = plan?.steps ?? [];
    // Of a run that has ended the gateway knows no plan; what a step promised when it began the log tells.
    const promise = (/** @type {number} */ index) =>
      this.#history?.summary?.promises?.[index] ?? own.find(({ kind, step }) => kind === 'action_started' && step === index + 1)?.detail;
    const stands = run ?? standingOf(own);
    const { text, until } = standing({ ...stands, plan }, own.findLast(({ kind }) => kind === 'action_started'));
    const episode = this.#store.state.episodes.get(fingerprint);
    const fires = episode?.id === number;
    const operator = this.#store.may('operator');
    const again = fires && run && ended(run) && episode?.ran.includes(rule) && !Object.hasOwn(episode.runs, rule) && run.state !== 'dry_run';
    put(
      this.#head,
      h('h2', {}, `${alertname} → ${target}`),
      h('p', { class: 'rule' }, `Run ${this.#id} of rule ${rule}, ${spoken(String(own[0]?.mode ?? ''))}`),
      sentence('standing', text.replace(/[^.]$/, '$&.'), until !== undefined && countdown(until)),
      chips(stands, steps),
      h(
        'p',
        { class: 'does' },
        run && !ended(run) && run.state !== 'cancelling' && operator && button('cancel', 'Cancel…', run, `run ${this.#id}`),
        again && operator && button('rerun', 'Try again…', run, rule ?? ''),
        fires && operator && button('ack', 'Acknowledge…', /** @type {Fields} */ (episode), alertname),
        h('a', { href: address('audit', '', { q: `run=${this.#id}` }) }, 'Its records in Audit'),
      ),
      steps.length > 0 && h('details', {}, h('summary', {}, 'The plan'), h('ol', { class: 'plan' }, steps.map((/** @type {Fields} */ step, /** @type {number} */ index) => planned(step, index + 1, promise(index))))),
    );
  }
}

/** @param {History} history */
function noteOf({ records, partial, summary }) {
  if (records.length === 0) return partial ? 'It has not been found, and not all of the log could be searched.' : 'There is no such run in the log.';
  if (partial) return 'Some of its records may be missing here: not all of the log could be searched.';
  return summary ? '' : 'It ended long ago: this is from the log.';
}

/** @type {Record<string, string>} */
const TERMINAL = {
  heal_confirmed: 'healed', escalated: 'escalated', action_cancelled: 'cancelled', approval_denied: 'denied', approval_expired: 'expired', action_dry_run: 'dry_run',
};

/** How a run ended that the state knows no more. @param {Entry[]} own @returns {Fields} */
function standingOf(own) {
  const last = own.findLast(({ kind }) => Object.hasOwn(TERMINAL, kind));
  const step = own.findLast(({ kind }) => kind === 'action_started')?.step ?? 0;
  return { state: last ? TERMINAL[last.kind] : 'unfinished', step, reason: last?.reason, action_ok: null, approval: null, ended_by: null };
}

/** One step of the plan: what it does, with what, and what it promises. @param {Fields} step @param {number} number @param {Fields} [promise] */
function planned({ action, params, verify }, number, promise) {
  const { idempotent, reversible } = promise ?? {};
  const traits = promise && `${idempotent ? 'Idempotent' : 'Not idempotent'}, ${reversible ? 'reversible' : 'not reversible'}.`;
  const name = `Step ${number}: ${action}`;
  return h(
    'li',
    {},
    h('h3', {}, name),
    h('pre', { tabindex: 0, role: 'group', 'aria-label': name }, JSON.stringify(params, null, 2)),
    h('p', {}, `It has helped when ${promised(verify)}. `, traits),
  );
}

/** What a row is about. @type {WeakMap<Element, Entry>} */
const shown = new WeakMap();

/** @param {Entry} record @param {Entry[]} all */
function row(record, all) {
  const before = all[all.indexOf(record) - 1];
  const { output, error, guards } = record.detail ?? {};
  const details = h('details', { class: 'record' }, h('summary', {}, `Record ${record.seq}`));
  shown.set(details, record);
  return h(
    'li',
    { class: tone(record), 'data-seq': record.seq },
    h('div', { class: 'head' }, glyph(tone(record)), when(record), before && h('span', { class: 'age' }, `+${length(seconds(record.ts) - seconds(before.ts))}`), h('b', {}, spoken(record.kind))),
    h('p', { title: utcs(record.detail?.guards?.at(-1) ?? record.detail) }, `${told(record)}.`),
    typeof output === 'string' && output && h('pre', { tabindex: 0, role: 'group', 'aria-label': `Output of step ${record.step}` }, output),
    error && record.kind !== 'action_fail' && h('p', { class: 'fault' }, String(error)),
    guards && h('details', {}, h('summary', {}, 'What each guard said'), h('ul', { class: 'guards' }, guards.map(guard))),
    details,
  );
}

/** @param {Fields} said */
function guard(said) {
  const mark = h('b', {}, said.passed ? '✓ ' : '✗ ');
  return h('li', { class: said.passed ? 'yes' : 'no', title: utcs(said) }, mark, verdict(said), ' ', h('code', {}, String(said.guard)));
}

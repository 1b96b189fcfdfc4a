// Runs in words: what a step does, how far the ladder has come, whom or what it waits for.

import { seconds, duration } from './time.js';
import { because } from './words-why.js';

/** @import { Entry, Fields } from './fold.js' */

/** What is not said in one line; the plan has it. */
const ASIDE = new Set(['timeout', 'env', 'cwd', 'headers', 'body', 'json', 'status', 'retries', 'host', 'context', 'stop_timeout']);
/** Of what an action has no timeout of its own, as docs/actions.md says. */
const TIMEOUT = 60;
const ENDED = new Set(['healed', 'escalated', 'cancelled', 'denied', 'expired', 'dry_run']);

/** @param {Fields} run */
export const ended = ({ state }) => ENDED.has(state);

/** @param {unknown} value */
const word = (value) => (/^[^\s"'\\]+$/.test(String(value)) ? String(value) : JSON.stringify(value));

/** What a step of a plan would do, in one line. @param {Fields} step @returns {string} */
export function described({ action, params }) {
  const told = Object.entries(params)
    .filter(([name, value]) => value !== null && !ASIDE.has(name))
    .map(([name, value]) => {
      if (name === 'argv') return value.map(word).join(' ');
      return ['method', 'url'].includes(name) ? word(value) : `${name.replaceAll('_', ' ')} ${word(value)}`;
    });
  return `${action}: ${told.join(' ')}`;
}

/** What tells whether a step helped. @param {Fields} verify of a plan's step @returns {string} */
export function promised({ resolved_within: within, probe }) {
  const parts = [];
  if (typeof within === 'number') parts.push(`the alert ends within ${duration(within)}`);
  if (probe) {
    const [[kind, asked]] = Object.entries(probe).filter(([name, value]) => !['within', 'stable'].includes(name) && value !== null);
    const what = typeof asked === 'string' ? asked : (asked.url ?? asked.argv?.map(word).join(' ') ?? '');
    const stable = probe.stable ? ` and goes on to for ${duration(probe.stable)}` : '';
    parts.push(`the ${kind} probe ${what} holds within ${duration(probe.within)}${stable}`);
  }
  return parts.join(', and ');
}

/** @typedef {'done' | 'failed' | 'now' | 'watched' | 'healed' | 'next' | 'spared'} StepState */
/** What is said of a step, beside its colour. @type {Record<StepState, string>} */
export const STEP_WORDS = { done: 'done', failed: 'did not help', now: 'under way', watched: 'done, is it healed?', healed: 'healed', next: 'to come', spared: 'not done' };

/** How each step of a run stands. @param {Fields} run @param {number} count how many steps its ladder has @returns {StepState[]} */
export function ladder(run, count) {
  const { state, step, action_ok: ok } = run;
  return Array.from({ length: count }, (_, index) => {
    const number = index + 1;
    if (number > step) return ended(run) ? 'spared' : 'next';
    if (number < step) return 'failed';
    if (state === 'acting') return 'now';
    if (state === 'healed') return 'healed';
    if (state === 'verifying') return ok === false ? 'failed' : 'watched';
    return state === 'cancelling' || state === 'cancelled' ? 'done' : 'failed';
  });
}

/**
 * Where a run stands and whom or what it waits for; `until` (epoch seconds) is its deadline, where there is one.
 * @param {Fields} run @param {Entry} [started] the record of its last step's beginning @returns {{text: string, until?: number}}
 */
export function standing(run, started) {
  const { state, step, reason, approval, ended_by: by, acted_at: acted } = run;
  const steps = run.plan?.steps ?? [];
  const current = steps[step - 1];
  const of = `step ${step}${steps.length ? ` of ${steps.length}` : ''}`;
  switch (state) {
    case 'awaiting_approval':
      return approval ? { text: 'Waits for somebody to approve it', until: approval.expires_at } : { text: 'Is about to ask people' };
    case 'planned':
      if (step >= steps.length) return { text: `${upper(of)} did not help: ${because(reason)}. It is being left to people` };
      if (step > 0) return { text: `${upper(of)} did not help: ${because(reason)}. Step ${step + 1} comes next` };
      return { text: approval?.by ? `Approved by ${approval.by}, begins when there is room` : 'Begins' };
    case 'acting':
      return { text: `Does ${of}`, ...(started && started.step === step && { until: seconds(started.ts) + timeoutOf(current) }) };
    case 'verifying': {
      if (run.action_ok === false) return { text: `${upper(of)} failed` };
      const deadline = (current ? lengthOf(current.verify) : 0) + acted;
      return { text: `Watches whether ${of} has helped${current ? `: ${promised(current.verify)}` : ''}`, until: deadline };
    }
    case 'escalating':
      return { text: `Is being left to people: ${because(reason)}` };
    case 'cancelling':
      return { text: `Is being ended${by && by !== 'system' ? ` as ${by} asked` : `: ${because(reason)}`}` };
    default:
      return { text: `${END_WORDS[state] ?? state}${reason ? `: ${because(reason)}` : ''}${by ? ` (${by})` : ''}` };
  }
}

/** @type {Record<string, string>} */
const END_WORDS = {
  healed: 'Healed', escalated: 'Left to people', cancelled: 'Cancelled', denied: 'Denied', expired: 'Left to people', dry_run: 'Dry run',
};

/** @param {string} text */
const upper = (text) => text[0].toUpperCase() + text.slice(1);

/** @param {Fields | undefined} step */
const timeoutOf = (step) => step?.params.timeout ?? TIMEOUT;

/** How long a verification may take, seconds. @param {Fields} verify */
const lengthOf = ({ resolved_within: within, probe }) => Math.max(within ?? 0, probe ? probe.within + (probe.stable ?? 0) : 0);

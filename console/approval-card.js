// One run that waits for people: what it would do, and the two buttons.

import { post } from './api.js';
import { answer, caused, stepLine } from './asking.js';
import { ask, field } from './dialog.js';
import { announce, h, put, say } from './dom.js';
import { duration } from './time.js';
import { time } from './words.js';

/** @import { Fields } from './fold.js' */
/** @import { Store } from './store.js' */

/** Seconds before its end from which on a countdown stands out. */
const SOON = 120;

/** @param {Fields} run @param {Store} store */
export function card(run, store) {
  const { rule, target, alertname, created_at, approval, plan, plan_digest: digest, caused_by } = run;
  const id = `asks-${run.id}`;
  const own = caused(run, store.who.subject);
  return h(
    'li',
    { class: 'card', 'aria-labelledby': id, 'data-run': run.id },
    h('h4', { id }, rule, ' → ', target),
    h('p', { class: 'quiet' }, `${alertname || 'alert without a name'}, sent by ${caused_by}, asked at `, time(created_at)),
    ladder(plan.steps),
    approval.observed !== null && h('p', {}, 'Now: ', h('code', {}, approval.observed), h('small', { class: 'quiet' }, ' If that changes before it begins, the approval is void.')),
    h('p', { class: 'expiry' }, h('span'), ', at ', time(approval.expires_at)),
    h('details', {}, h('summary', {}, 'The whole plan'), h('p', { class: 'quiet' }, 'Digest ', h('code', {}, digest)), h('pre', { tabindex: 0, role: 'group', 'aria-label': 'Plan' }, JSON.stringify(plan, null, 2))),
    own && h('p', { class: 'quiet' }, 'It follows from an alert that you have sent: somebody else must approve it.'),
    h(
      'div',
      { class: 'buttons' },
      store.may('operator') && h('button', { type: 'button', 'data-word': 'deny', 'aria-label': `Deny ${rule} on ${target}` }, 'Deny…'),
      store.may('approver') && !own && h('button', { type: 'button', class: 'main', 'data-word': 'approve', 'aria-label': `Approve ${rule} on ${target}` }, 'Approve…'),
    ),
  );
}

/** The steps in their order; `promised` is what `GET /runs/{id}` tells of them, once it has. @param {Fields[]} steps @param {Fields[]} [promised] */
export function ladder(steps, promised) {
  const rows = steps.map((step, index) => {
    const told = promised?.[index];
    const line = h('code', {}, told?.description ?? stepLine(step));
    return h('li', {}, index > 0 && h('span', { class: 'quiet' }, 'if that does not help: '), line, told && [' ', ...promises(told)]);
  });
  return h('ol', { class: 'planned' }, ...rows);
}

/** @param {Fields} told */
function promises({ idempotent, reversible }) {
  return [
    h('span', { class: idempotent ? 'chip' : 'chip care', title: 'Whether doing it twice leaves what doing it once leaves' }, idempotent ? 'idempotent' : 'not idempotent'),
    ' ',
    h('span', { class: reversible ? 'chip' : 'chip care', title: 'Whether its opposite brings back what was' }, reversible ? 'reversible' : 'not reversible'),
  ];
}

/** Keep a card's countdown. @param {Element} card @param {Fields} run @param {number} now epoch seconds */
export function countDown(card, { approval }, now) {
  const left = approval.expires_at - now;
  const expiry = /** @type {HTMLElement} */ (card.querySelector('.expiry'));
  say(/** @type {Element} */ (expiry.firstElementChild), left > 0 ? `Expires in ${duration(left)}` : 'Its time is over');
  expiry.classList.toggle('soon', left < SOON);
}

/** Ask for a word on the run, and send it with the digest of the plan that was shown. @param {Fields} run @param {'approve' | 'deny'} word @param {Store} store @param {Fields[]} [promised] */
export function wordDialog(run, word, store, promised) {
  const { rule, target, plan, plan_digest } = run;
  const meanwhile = h('p', { class: 'fault', role: 'status' });
  const label = word === 'approve' ? 'Approve' : 'Deny';
  const comment = h('input', { id: 'word-comment', name: 'comment', maxlength: 1000, autofocus: true });
  let sent = false;
  const dialog = ask(`${label} ${rule} on ${target}`, [ladder(plan.steps, promised), meanwhile, field('Comment', comment, 'May be left empty.')], label, async (given) => {
    sent = true;
    try {
      await post(`/runs/${run.id}/${word}`, { plan_digest, ...(given.comment && { comment: given.comment }) });
    } catch (error) {
      sent = false;
      throw error;
    }
    announce(`${label === 'Deny' ? 'Denied' : 'Approved'}: ${rule} on ${target}.`);
  });
  const stop = store.subscribe(() => {
    const now = store.state.runs.get(run.id);
    if (!sent && now?.approval && now.state !== 'awaiting_approval') put(meanwhile, `Meanwhile: ${answer(now)}.`);
  });
  dialog.addEventListener('close', stop);
}

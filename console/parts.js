// Pieces that Now and the timeline of a run share.

import { telling } from './cards.js';
import { h, on, put, say } from './dom.js';
import { ackDialog, cancelDialog, expireDialog, rerunDialog } from './operate.js';
import { duration, utc } from './time.js';
import { STEP_WORDS, described, ladder } from './words-run.js';

/** @import { Child } from './dom.js' */
/** @import { Fields } from './fold.js' */

/** How long it has been, kept right by `tick`. @param {number} since epoch seconds @param {string} [word] */
export const age = (since, word = 'for') => h('span', { class: 'age', 'data-since': since, 'data-word': word, title: utc(since) });

/** How long there is left, kept right by `tick`. @param {number} until epoch seconds */
export const countdown = (until) => h('span', { class: 'left', 'data-until': until, title: utc(until) });

/** Let ages and countdowns say what is so at `now` (epoch seconds). @param {Element} root @param {number} now */
export function tick(root, now) {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll('[data-since], [data-until]'))) {
    const { since, until, word } = element.dataset;
    if (since !== undefined) say(element, `${word} ${duration(now - Number(since))}`);
    else say(element, Number(until) > now ? `${duration(Number(until) - now)} left` : 'any moment');
  }
}

/** The ladder of a run, a chip for each step. @param {Fields} run @param {Fields[]} steps of its plan */
export function chips(run, steps) {
  const states = ladder(run, steps.length);
  return h(
    'ol',
    { class: 'ladder', 'aria-label': 'Steps' },
    steps.map((step, index) => {
      const state = states[index];
      const current = state === 'now' || state === 'watched' ? 'step' : null;
      const text = described(step);
      return h('li', { class: state, 'aria-current': current }, h('b', {}, `${index + 1} `), h('span', { title: text }, text), h('i', {}, ` ${STEP_WORDS[state]}`));
    }),
  );
}

/** The labels that tell an alert from others. @param {Record<string, string>} labels */
export const labelChips = (labels) =>
  h('ul', { class: 'labels', 'aria-label': 'Labels' }, telling(labels).map(([name, value]) => h('li', {}, h('span', {}, `${name}=`), value)));

/** What a button is about. @type {WeakMap<Element, Fields>} */
const subjects = new WeakMap();

/** @param {'ack' | 'cancel' | 'rerun' | 'extend' | 'expire'} what @param {string} text @param {Fields} subject @param {string} about for ears */
export function button(what, text, subject, about) {
  const made = h('button', { type: 'button', 'data-do': what, 'aria-label': `${text.replace(/…$/, '')}: ${about}` }, text);
  subjects.set(made, subject);
  return made;
}

/** Let the buttons in `root` do what they say. @param {Element} root */
export function startButtons(root) {
  on(root, 'click', '[data-do]', (element) => {
    const subject = subjects.get(element);
    if (!subject) return;
    const { fingerprint, labels, matchers, comment } = subject;
    if (element.dataset.do === 'ack') ackDialog(labels.alertname ?? 'the alert', { fingerprint });
    if (element.dataset.do === 'extend') ackDialog('', { matchers }, comment);
    if (element.dataset.do === 'expire') expireDialog(subject);
    if (element.dataset.do === 'cancel') cancelDialog(subject);
    if (element.dataset.do === 'rerun') rerunDialog(subject);
  });
}

/** Change `root` by `change`, and leave the focus on what had it, by its card and what it does. @param {Element} root @param {() => void} change */
export function keepingFocus(root, change) {
  const active = document.activeElement;
  const card = active instanceof HTMLElement && root.contains(active) ? active.closest('[data-key]') : null;
  const name = active?.getAttribute('aria-label') ?? active?.textContent;
  change();
  if (!card || document.activeElement === active) return;
  const key = card.getAttribute('data-key');
  const same = [...root.querySelectorAll('[data-key]')].find((one) => one.getAttribute('data-key') === key);
  const again = [.../** @type {NodeListOf<HTMLElement>} */ (same?.querySelectorAll('a, button, summary') ?? [])];
  again.find((one) => (one.getAttribute('aria-label') ?? one.textContent) === name)?.focus();
}

/** A paragraph of parts, with a space between those that are there. @param {string} name @param {...Child} parts */
export function sentence(name, ...parts) {
  const made = h('p', { class: name });
  put(made, ...parts.filter(Boolean).flatMap((part, index) => (index ? [' ', part] : [part])));
  return made;
}

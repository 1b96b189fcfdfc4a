// The cards of Now: an alert with what each rule does about it, a storm, an acknowledgement.

import { failureWords, tryable } from './cards.js';
import { h } from './dom.js';
import { age, button, chips, countdown, labelChips, sentence } from './parts.js';
import { address } from './routes.js';
import { seconds } from './time.js';
import { glyph } from './tones.js';
import { time } from './words.js';
import { ended, standing } from './words-run.js';
import { stance, why } from './words-why.js';

/** @import { Card, Group, Line } from './cards.js' */
/** @import { Entry, Fields } from './fold.js' */
/** @import { Item } from './section.js' */
/** @import { Tone } from './tones.js' */

/** What an element is about. @type {WeakMap<Element, Card>} */
export const shown = new WeakMap();

/** @type {Record<Group, Tone>} */
const TONE = { people: 'failure', work: 'other', waits: 'dry', left: 'other' };

/** @param {Item} item */
export function cardElement({ name, card, told, ack, operator }) {
  const { episode, lines, storm } = /** @type {Card} */ (card);
  if (storm) return stormElement(storm);
  const alertname = episode?.labels.alertname ?? lines[0].run?.alertname ?? '';
  const head = h(
    'div',
    { class: 'head' },
    glyph(TONE[/** @type {Group} */ (name)], false),
    h('h4', {}, alertname || 'An alert without a name'),
    episode ? age(episode.opened_at) : h('span', {}, 'has ended'),
    ack && h('span', { class: 'minded' }, `acknowledged by ${ack.actor}, `, countdown(ack.ends_at)),
    episode && labelChips(episode.labels),
    episode && operator && !ack && button('ack', 'Acknowledge…', episode, alertname),
  );
  const about = episode?.annotations.summary ?? episode?.annotations.description;
  const element = h(
    'li',
    { class: `card ${name}` },
    head,
    about && h('p', { class: 'about' }, about),
    h('ul', { class: 'lines' }, lines.map((/** @type {Line} */ line, /** @type {number} */ index) => lineElement(card, line, told[index], operator))),
    episode && h('details', {}, h('summary', {}, 'Everything about this alert')),
  );
  shown.set(element, card);
  return element;
}

/** @param {{rule: string, held: number, storm: Fields}} storm */
function stormElement({ rule, held, storm: { began_at: since, over } }) {
  const text = `${over ? 'The storm is over, and it still holds' : 'Too many targets failed at once: a storm holds'} ${held} ${held === 1 ? 'alert' : 'alerts'} of this rule.`;
  return h(
    'li',
    { class: 'card people' },
    h('div', { class: 'head' }, glyph('failure', false), h('h4', {}, `Storm: ${rule}`), age(since)),
    h('p', {}, text, ' ', h('a', { href: address('approvals') }, 'What it holds')),
  );
}

/** @param {Card} card @param {Line} line @param {[Entry | undefined, Entry | undefined]} told @param {boolean} operator */
function lineElement(card, line, [decided, started], operator) {
  const { rule, failure, run, decision } = line;
  const again = operator ? tryable(card, line) : null;
  const link = (/** @type {string} */ id) => h('a', { href: address('runs', id) }, `Timeline of ${id}`);
  const open = run && !ended(run);
  const text = failure && !open ? { text: failureWords(failure) } : run ? standing(run, started) : inWords(/** @type {Fields} */ (decision), decided);
  return h(
    'li',
    {},
    sentence('standing', text.text.replace(/[^.]$/, '$&.'), text.until !== undefined && countdown(text.until)),
    h(
      'div',
      { class: 'does' },
      rule && h('span', { class: 'rule' }, rule, run ? ` → ${run.target}` : ''),
      run?.plan && chips(run, run.plan.steps),
      failure ? link(failure.run) : run ? link(run.id) : h('a', { href: address('audit', '', { q: `episode=${card.episode?.id}` }) }, 'Its records'),
      operator && run?.state === 'awaiting_approval' && h('a', { href: address('approvals') }, 'Answer…'),
      open && operator && run.state !== 'cancelling' && button('cancel', 'Cancel…', run, `run ${run.id}`),
      again && button('rerun', 'Try again…', again, rule),
    ),
  );
}

/** @param {Fields} decision @param {Entry | undefined} record @returns {{text: string, until?: number}} */
function inWords({ reason }, record) {
  const again = record?.detail?.ask_again;
  const text = `${stance(reason)}: ${why(reason, record)}`;
  return typeof again === 'string' && !['human_present', 'unless', 'fleet_guard'].includes(reason) ? { text, until: seconds(again) } : { text };
}

/** @param {Item} item */
export function ackElement({ silence, own }) {
  const { matchers, actor, comment, made_at: since, ends_at: until } = silence;
  return h(
    'li',
    { class: 'card' },
    h('div', { class: 'head' }, h('h4', {}, own ? 'By you' : `By ${actor}`), age(since), h('span', {}, 'until ', time(until), ', ', countdown(until))),
    h('p', {}, h('code', {}, matchers)),
    comment && h('p', { class: 'about' }, comment),
    own && h('span', { class: 'does' }, button('extend', 'Extend…', silence, matchers), button('expire', 'End…', silence, matchers)),
  );
}

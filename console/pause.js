// The button that stops it, and the one that lets it go on.

import { get, post } from './api.js';
import { ask, field } from './dialog.js';
import { announce, h } from './dom.js';

/** @import { Fields } from './fold.js' */

/** Until when: what is chosen most. The API takes any. */
const LENGTHS = [['', 'until somebody resumes'], ['15m', '15 minutes'], ['1h', '1 hour'], ['4h', '4 hours'], ['12h', '12 hours'], ['3d', '3 days']];

/** Ask what to pause, why and for how long, and do it. @param {string} [chosen] the rule to begin with; else everything */
export function pauseDialog(chosen) {
  const rules = h('select', { id: 'pause-rule', name: 'rule' }, h('option', { value: '' }, 'Everything'));
  const option = (/** @type {Fields} */ { name }) => h('option', { value: name }, `Rule ${name}`);
  if (chosen !== undefined) {
    rules.append(option({ name: chosen }));
    rules.value = chosen;
  }
  // Everything can be paused whether or not the rules can be had.
  get('/rules').then(
    (answer) => rules.append(...answer.rules.map(option).filter((/** @type {HTMLOptionElement} */ { value }) => value !== chosen)),
    () => {},
  );
  const lengths = LENGTHS.map(([value, text]) => h('option', { value }, text));
  const fields = [
    h('p', {}, 'No run begins while it lasts. What runs already finishes its step.'),
    field('What', rules),
    field('Why', h('input', { id: 'pause-why', name: 'reason', required: true, maxlength: 1000, autofocus: true })),
    field('For', h('select', { id: 'pause-for', name: 'duration' }, ...lengths)),
  ];
  ask('Pause', fields, 'Pause', async ({ rule, reason, duration }) => {
    await post('/pause', { reason, ...(rule && { rule }), ...(duration && { duration }) });
    announce(rule ? `Rule ${rule} is paused.` : 'Everything is paused.');
  });
}

/** Ask, and take a pause back. @param {string | null} rule null: that of everything */
export function resumeDialog(rule) {
  const title = rule === null ? 'Resume everything' : `Resume rule ${rule}`;
  const why = h('input', { id: 'resume-why', name: 'reason', maxlength: 1000, autofocus: true });
  ask(title, [field('Why', why, 'May be left empty.')], 'Resume', async ({ reason }) => {
    await post('/resume', { ...(reason && { reason }), ...(rule !== null && { rule }) });
    announce(rule === null ? 'The pause of everything is over.' : `The pause of rule ${rule} is over.`);
  });
}

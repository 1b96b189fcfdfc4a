// What an operator does about a run or an alert: each asked for once more, with a comment.

import { post } from './api.js';
import { ask, field } from './dialog.js';
import { announce, h } from './dom.js';

/** @import { Fields } from './fold.js' */

const LENGTHS = ['15m', '1h', '4h', '12h', '1d'];

/** @param {string} hint */
const comment = (hint) => field('Comment', h('input', { id: 'comment', name: 'comment', maxlength: 1000 }), hint);
const given = (/** @type {string} */ text) => (text ? { comment: text } : {});

/** End a run. @param {Fields} run */
export function cancelDialog({ id, rule, target }) {
  const told = 'An action under way is ended, and nothing that was done is undone. The rule leaves this alert alone from then on.';
  ask(`Cancel run ${id}`, [h('p', {}, `${rule} → ${target}`), h('p', {}, told), comment('May be left empty.')], 'Cancel the run', async (form) => {
    await post(`/runs/${encodeURIComponent(id)}/cancel`, given(form.comment));
    announce(`Run ${id} is being cancelled.`);
  });
}

/** Let a rule try once more. @param {Fields} run one that is over, while its alert fires */
export function rerunDialog({ id, rule }) {
  const told = 'All guards are asked again, cooldown and budget too, and people where the rule says so.';
  ask(`Let ${rule} try again`, [h('p', {}, told), comment('May be left empty.')], 'Try again', async (form) => {
    await post(`/runs/${encodeURIComponent(id)}/rerun`, given(form.comment));
    announce(`${rule} may try again.`);
  });
}

/** @param {string} hint */
function length(hint) {
  const options = h('datalist', { id: 'ack-lengths' }, LENGTHS.map((value) => h('option', { value })));
  const input = h('input', { id: 'ack-for', name: 'duration', value: LENGTHS[0], required: true, list: 'ack-lengths', autocomplete: 'off' });
  return [field('For', input, hint), options];
}

/**
 * Mind an alert. @param {string} name of it @param {{fingerprint: string} | {matchers: string}} what @param {string} [before]
 * what the comment was, where it is already minded
 */
export function ackDialog(name, what, before) {
  const words = h('input', { id: 'ack-comment', name: 'comment', maxlength: 1000, value: before ?? '', autofocus: true });
  const told = 'Alertmanager silences it in your name, and no run begins on it, until the time is over or it ends.';
  const fields = [h('p', {}, told), field('Comment', words, 'For those who read it. May be left empty.'), ...length('From now on: 30s, 15m, 2h, 1d …')];
  ask(before === undefined ? `Acknowledge ${name}` : 'Extend the acknowledgement', fields, 'Acknowledge', async (form) => {
    await post('/ack', { ...what, duration: form.duration, ...given(form.comment) });
    announce(`Acknowledged for ${form.duration}.`);
  });
}

/** Mind it no more. @param {Fields} silence one's own */
export function expireDialog({ matchers }) {
  const told = 'The silence in Alertmanager ends, people are called again, and what waits for it is decided anew.';
  ask('End the acknowledgement', [h('p', {}, told), h('p', {}, h('code', {}, matchers))], 'End it', async () => {
    // The same asked again takes its place: docs/api.md, POST /ack.
    await post('/ack', { matchers, duration: '1s' });
    announce('The acknowledgement ends.');
  });
}

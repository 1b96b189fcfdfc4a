// The filter language on one sheet (docs/query.md has all of it).

import { sheet } from './dialog.js';
import { h } from './dom.js';

const TERMS = [
  ['kind=action_fail', 'is that value'],
  ['mode!=live', 'is anything else, or missing'],
  ['labels.job~"team-a-*"', 'matches as a whole; * stands for any text'],
  ['detail.exit_code>0', 'comes after; also >= < <='],
  ['kind IN (heal_failed, escalated)', 'is one of these'],
  ['run EXISTS', 'is there'],
  ['ts>=2026-11-21T07:00:00+02:00', 'a time, in any offset'],
];
const JOINED = [
  ['kind=action_ok AND alertname=HighCPU', 'both'],
  ['alertname=HighCPU OR rule=restart-api', 'either'],
  ['NOT (rule=a OR rule=b)', 'not; NOT binds over AND, AND over OR'],
];

/** @param {string[][]} rows */
const pairs = (rows) => h('dl', { class: 'help' }, rows.map(([code, text]) => [h('dt', {}, h('code', {}, code)), h('dd', {}, text)]).flat());

export function showHelp() {
  sheet(
    'The filter language',
    // It has the focus, so that the sheet begins at its beginning.
    h('h3', { tabindex: -1, autofocus: true }, 'One field'),
    pairs(TERMS),
    h('h3', {}, 'Joined'),
    pairs(JOINED),
    h('p', {}, 'Fields are those of a record, and labels.NAME, annotations.NAME and detail.NAME. Upper and lower case differ.'),
    h('p', {}, 'A value with spaces or special characters stands in quotes: ', h('code', {}, 'labels."any name"="two words"'), '.'),
    h('p', {}, 'While you write, ', h('kbd', {}, '↓'), ' and ', h('kbd', {}, 'Enter'), ' choose from what is offered.'),
  );
}

// What may come next in a filter of the log: fields, operators, values and what joins them. docs/query.md has the language;
// whether a filter is one the service alone decides.

/** Each kind, reason and mode that there is; a test compares them with the service's. */
export const KINDS = (
  'log_created log_repaired log_opened snapshot checkpoint space_low space_ok service_started service_stopped ' +
  'config_loaded config_rejected alert_firing alert_resolved alert_disputed alert_undisputed alert_suspect alert_rejected ' +
  'decision approval_requested ' +
  'approval_granted approval_denied approval_expired action_started action_ok action_fail action_dry_run ' +
  'action_interrupted cancel_requested action_cancelled heal_confirmed heal_failed heal_inconclusive escalated notified ' +
  'notify_failed rerun_requested breaker_opened breaker_closed rule_demoted storm_began storm_released storm_observed ' +
  'storm_ended silence_requested silence_created silence_failed silence_extended silence_expired ack_old watchdog_missing ' +
  'watchdog_back paused resumed keys_failed keys_back login logout auth_failed selftest_ok selftest_fail'
).split(' ');
export const REASONS = (
  'disabled no_rule paused protected bad_target rule_off not_yet run_ended in_progress disputed acked human_present frozen ' +
  'unless cooldown budget breaker_open storm fleet_guard concurrency low_space dry_run hold_out awaiting_approval act'
).split(' ');
export const MODES = ['off', 'dry_run', 'approve', 'live'];
export const FIELDS = (
  'kind alertname rule target reason mode run episode fingerprint actor step seq ts correlation_id prev hash'
).split(' ');
const GROUPS = ['labels.', 'annotations.', 'detail.'];
const OPERATORS = ['=', '!=', '~', '>=', '>', '<=', '<', 'IN (', 'EXISTS'];

const TOKEN = /\s+|!=|>=|<=|[=~><(),]|(?:[^\s\x00-\x1f\x7f()=!~<>,"]+(?:"(?:[^"\\]|\\.)*"?)?)|"(?:[^"\\]|\\.)*"?|./gsu;
const BARE = /^[^\s\x00-\x1f\x7f()=!~<>,"]+$/;
const KEYWORD = /^(?:AND|OR|NOT|IN|EXISTS)$/i;
const MOST = 60;

/**
 * @typedef {'field' | 'operator' | 'value' | 'list' | 'join'} Wanted
 * @typedef {object} Place where the caret stands
 * @property {Wanted} wanted @property {string} field whose value or operator it is
 * @property {number} from where what is typed there begins @property {string} typed
 * @typedef {object} Choice
 * @property {string} text what is offered @property {string} puts what it puts into the filter
 */

/** @param {string} before the filter, up to the caret @returns {Place} */
export function place(before) {
  /** @type {Wanted} */
  let wanted = 'field';
  let field = '';
  let listed = false;
  let from = 0;
  for (const [token] of before.matchAll(TOKEN)) {
    const start = from;
    from += token.length;
    const written = /^[^\s()=!~<>,]/.test(token);
    // What the caret touches is still being typed.
    if (written && from === before.length) return { wanted, field, from: start, typed: token };
    if (/^\s/.test(token)) continue;
    if (/^[=~<>!]/.test(token)) wanted = 'value';
    else if (token === '(') wanted = listed ? 'value' : 'field';
    else if (token === ',') wanted = 'value';
    else if (token === ')') [wanted, listed] = ['join', false];
    else if (wanted === 'field' && !/^NOT$/i.test(token)) [wanted, field] = ['operator', token];
    else if (wanted === 'operator' && /^IN$/i.test(token)) [wanted, listed] = ['list', true];
    else if (wanted === 'join') wanted = 'field';
    else if (wanted !== 'field') wanted = 'join';
  }
  return { wanted, field, from: before.length, typed: '' };
}

/** A value as it is written in a filter. @param {string} value */
export const quoted = (value) => (BARE.test(value) && !KEYWORD.test(value) ? value : JSON.stringify(value));

/**
 * What may stand at the caret, the likeliest first. @param {Place} where
 * @param {(field: string) => Iterable<string>} seen the values that a field has had, for a group (`labels.`) its names
 * @returns {Choice[]}
 */
export function choices({ wanted, field, typed }, seen) {
  const sought = (typed.startsWith('"') ? typed.slice(1) : typed).toLowerCase();
  const all = offered(wanted, field, seen, sought);
  const found = all.filter(({ text }) => text.toLowerCase().includes(sought));
  const first = found.filter(({ text }) => text.toLowerCase().startsWith(sought));
  return [...first, ...found.filter((choice) => !first.includes(choice))].slice(0, MOST);
}

/** @param {Wanted} wanted @param {string} field @param {(field: string) => Iterable<string>} seen @param {string} sought @returns {Choice[]} */
function offered(wanted, field, seen, sought) {
  if (wanted === 'operator') return OPERATORS.map((text) => ({ text, puts: text }));
  if (wanted === 'list') return [{ text: '(', puts: '(' }];
  if (wanted === 'join') return ['AND', 'OR', 'AND NOT'].map((text) => ({ text, puts: `${text} ` }));
  if (wanted === 'value') return [...new Set(seen(field))].map((text) => ({ text, puts: quoted(text) }));
  const names = GROUPS.flatMap((group) => [...seen(group)].map((name) => `${group}${quoted(name)}`));
  const fields = FIELDS.map((text) => ({ text, puts: `${text}=` }));
  const groups = GROUPS.map((text) => ({ text, puts: text }));
  // Labels have many names: they come once somebody looks for one.
  return sought === '' ? [...fields, ...groups] : [...fields, ...groups, ...names.map((text) => ({ text, puts: `${text}=` }))];
}

/** A filter with the mark where it is wrong: before, at and after it. @param {string} text @param {number} column from 1, in characters */
export function pointed(text, column) {
  const characters = [...text];
  const at = Math.min(Math.max(column, 1) - 1, characters.length);
  const from = Math.max(0, at - 40);
  const before = `${from > 0 ? '…' : ''}${characters.slice(from, at).join('')}`;
  const after = `${characters.slice(at + 1, at + 40).join('')}${characters.length > at + 40 ? '…' : ''}`;
  return { before, mark: characters[at] ?? ' ', after, caret: characters.slice(0, at).join('').length };
}

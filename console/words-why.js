// Why did it act, or not? Each reason of docs/why.md in words, with what the guard looked at where the record tells.

import { duration, local, present, seconds } from './time.js';
import { spoken } from './words.js';

/** @import { Fields } from './fold.js' */

/** @param {unknown} value a time of a record; a number is one that no calendar has */
const at = (value) => (typeof value === 'string' ? local(seconds(value), present()) : 'a time that no calendar has');
const until = (/** @type {unknown} */ value) => `until ${at(value)}`;
const WHOSE = /** @type {Record<string, string>} */ ({ target: 'this target', rule: 'this rule', all: 'all rules together' });
/** @param {Fields} window */
const used = ({ scope, used: spent, of, window }) => `${spent} of ${of} runs in ${duration(window)} for ${WHOSE[scope] ?? scope}`;

/**
 * @typedef {object} Guard
 * @property {string} no why it is in the way, or what follows, when nothing more is known
 * @property {(saw: Fields) => string} [told] the same with what it looked at
 * @property {string | ((saw: Fields) => string)} [yes] that it is not in the way
 */

/** In the order in which they are asked. @type {ReadonlyMap<string, Guard>} */
const GUARDS = new Map(
  /** @type {[string, Guard][]} */ ([
    ['disabled', { no: 'autoheal is switched off (AUTOHEAL_ENABLED=false)', yes: 'autoheal is switched on' }],
    ['no_rule', { no: 'no rule is for this alert', yes: 'a rule is for this alert' }],
    ['paused', {
      no: 'an operator has paused it',
      told: ({ rule, how, by, reason, until: end }) =>
        `${rule === null ? 'everything' : 'the rule'} is paused by ${how === 'file' ? 'the file PAUSE' : by} (${reason}), ${end ? until(end) : 'until resumed'}`,
      yes: 'nobody has paused it',
    }],
    ['protected', { no: 'the alert is protected', told: ({ protect }) => `the alert is protected: ${protect}`, yes: 'the alert is not protected' }],
    ['bad_target', {
      no: 'no safe plan can be made for it',
      told: ({ error }) => `no safe plan can be made for it: ${error}`,
      yes: ({ target }) => `the target ${target} is safe and allowed`,
    }],
    ['rule_off', { no: 'the rule is off', yes: ({ mode, demoted }) => `the mode of the rule is ${spoken(String(mode))}${demoted ? ', and it was demoted' : ''}` }],
    ['not_yet', {
      no: 'the alert has not fired for long enough',
      told: ({ for: length, until: end }) => `the alert has to fire for ${duration(length)} first, ${until(end)}`,
      yes: 'it has fired for long enough',
    }],
    ['run_ended', {
      no: 'the rule has tried once; it tries again when the alert has ended and comes back, or an operator asks for it',
      yes: 'the rule has not tried on this alert yet',
    }],
    ['in_progress', {
      no: 'another run works on the same target',
      told: ({ runs }) => `run ${runs.join(', ')} works on the same target or alert`,
      yes: 'no other run works on the target',
    }],
    ['disputed', {
      no: 'the Alertmanagers do not agree whether the alert still fires',
      told: ({ ends_at: end }) => `one Alertmanager says that the alert ended at ${at(end)}, and another still lists it`,
      yes: 'no Alertmanager contradicts another',
    }],
    ['acked', {
      no: 'an operator has acknowledged the alert',
      told: ({ by, until: end }) => `${by} has acknowledged the alert, ${until(end)}`,
      yes: 'nobody has acknowledged the alert',
    }],
    ['human_present', {
      no: 'a person minds the alert: somebody has silenced it in Alertmanager',
      told: ({ known }) =>
        known ? 'a person minds the alert: somebody has silenced it in Alertmanager' : 'a person minded the alert when Alertmanager last knew of it',
      yes: ({ known }) => (known ? 'no silence of a person covers the alert' : 'Alertmanager does not tell of a person who minds the alert'),
    }],
    ['frozen', {
      no: 'a freeze is on',
      told: ({ window, until: end }) => `a freeze is on (${window}), ${until(end)}`,
      yes: 'no freeze is on',
    }],
    ['unless', {
      no: 'an alert fires beside which the rule does not act',
      told: ({ firing, errors }) =>
        firing
          ? `${firing.alertname} fires, beside which the rule does not act (${firing.unless})`
          : `nobody knows whether an alert fires beside which the rule does not act${errors?.length ? `: ${errors.join('; ')}` : ''}`,
      yes: ({ alerts }) => (alerts ? 'no alert fires beside which the rule does not act' : 'the rule acts beside any alert'),
    }],
    ['cooldown', {
      no: 'the rule has acted on this target a short while ago (cooldown)',
      told: ({ last_action, until: end }) => `the rule acted on this target at ${at(last_action)}: cooldown ${until(end)}`,
      yes: 'no cooldown is on',
    }],
    ['budget', {
      no: 'the budget is used up',
      told: ({ windows }) => `the budget is used up: ${used(windows.at(-1))}`,
      yes: ({ windows }) => (windows.length ? `the budget is not used up: ${windows.map(used).join('; ')}` : 'there is no budget to keep'),
    }],
    ['breaker_open', {
      no: 'the runs of the rule have failed too often in a row (its breaker is open)',
      told: ({ failures, until: end, runs }) =>
        `the runs of the rule have failed ${failures} times in a row: ${runs?.length ? `run ${runs.join(', ')} tries it` : `it is tried again at ${at(end)}`}`,
      yes: ({ failures }) => `the breaker lets it through (${failures} failures in a row)`,
    }],
    ['storm', {
      no: 'a storm holds it: too many targets failed at once',
      told: ({ of, window, since }) =>
        `a storm holds it since ${at(since)}: more than ${of} targets in ${duration(window)}. An approver may let it go`,
      yes: ({ released_by: by }) => (by ? `${by} has let it go from the storm` : 'no storm holds it'),
    }],
    ['fleet_guard', {
      no: 'too many of the fleet are under treatment, or nobody knows how many there are',
      told: ({ population, treated, allowed, at_most, error }) =>
        error ? `nobody knows how many there are: ${error}` : `${treated} of ${population} would be under treatment; ${allowed} may be (${at_most})`,
      yes: ({ at_most, treated, population }) => (at_most === null ? 'the rule watches no fleet' : `${treated} of ${population} would be under treatment, which is allowed`),
    }],
    ['concurrency', {
      no: 'enough runs are at work already',
      told: ({ scope, running, of }) => `${running} of ${of} runs${scope === 'rule' ? ' of this rule' : ''} are at work already: it waits for its turn`,
      yes: ({ running, of }) => `there is room: ${running} of ${of} runs are at work`,
    }],
    ['low_space', { no: 'the disk of the audit log is nearly full', yes: 'the disk of the audit log has room' }],
    ['dry_run', { no: 'nothing is in the way, and it only says what it would do' }],
    ['hold_out', {
      no: 'nothing is in the way, and it is held out for comparison: it only says what it would do',
      told: ({ rollout }) => `the rule acts on ${rollout} % of the alerts, and this one is held out for comparison`,
      yes: ({ rollout }) => `it is in the ${rollout} % on which the rule acts`,
    }],
    ['awaiting_approval', {
      no: 'nothing is in the way, and people are asked first',
      yes: ({ by, with: how }) => `${by} has approved it${how === 'storm' ? ' with all that the storm held' : ''}`,
    }],
    ['act', { no: 'nothing is in the way' }],
  ]),
);

/** Why a run stands or ended where it did, beyond the guards. @type {ReadonlyMap<string, string>} */
const ENDS = new Map(
  Object.entries({
    resolved: 'the alert has ended',
    probe_held: 'the probe holds',
    not_resolved: 'the alert did not end in time',
    probe_failed: 'the probe did not hold in time',
    fired_anew: 'the alert went and came back',
    action_failed: 'the action failed',
    silenced: 'the alert is silenced in Alertmanager, so nobody would tell that it has ended',
    alertmanager_unknown: 'Alertmanager did not answer at the deadline',
    prometheus_unknown: 'Prometheus had no usable answer at the deadline',
    inconclusive: 'nobody knows whether it helped',
    steps_exhausted: 'no step of the ladder is left',
    gateway_died: 'the gateway died over it',
    shutdown: 'the gateway was stopped over it',
    cancelled: 'an operator has cancelled it',
    denied: 'it was denied',
    expired: 'the time to approve it was over',
    plan_changed: 'the plan is another one since the rules were reloaded',
    rule_changed: 'the rule was changed',
    rule_removed: 'the rule is no longer there',
    unknown_action: 'its action is no longer there',
    internal_error: 'of a fault in autoheal itself; its own log tells more',
  }),
);

/** Reasons that end by themselves, or when somebody does something: then it is decided anew. */
const WAITS = new Set([
  'paused', 'not_yet', 'in_progress', 'disputed', 'acked', 'human_present', 'frozen', 'unless', 'cooldown', 'budget', 'breaker_open', 'storm',
  'fleet_guard', 'concurrency', 'low_space',
]);

/** Whether a decision stands for as long as something is in the way. @param {string} reason */
export const waits = (reason) => WAITS.has(reason);

/** Why a run stands where it stands, or a decision is what it is, in words. @param {string | null | undefined} reason */
export const because = (reason) => ENDS.get(reason ?? '') ?? GUARDS.get(reason ?? '')?.no ?? spoken(reason ?? 'nobody knows');

/** Whether there are words for this reason. @param {string} reason */
export const hasWords = (reason) => ENDS.has(reason) || GUARDS.has(reason);

/** What one guard said. @param {Fields} verdict of a decision's `detail.guards` @returns {string} */
export function verdict({ guard, passed, ...saw }) {
  const known = GUARDS.get(guard);
  if (!known) return spoken(String(guard));
  const { no, told, yes = no } = known;
  try {
    if (passed) return typeof yes === 'function' ? yes(saw) : yes;
    return told ? told(saw) : no;
  } catch {
    // Another version wrote it, and it looked at something else.
    return passed ? spoken(String(guard)) : no;
  }
}

/** Why a decision is what it is; `record` is its own, where it is known. @param {string} reason @param {Fields} [record] */
export function why(reason, record) {
  const last = record?.detail?.guards?.at(-1);
  return last && !last.passed && last.guard === reason ? verdict(last) : because(reason);
}

/** What follows from a decision. @param {string} reason */
export function stance(reason) {
  if (reason === 'act') return 'Acts';
  if (reason === 'dry_run' || reason === 'hold_out') return 'Would act';
  if (reason === 'awaiting_approval') return 'Asks people';
  return waits(reason) ? 'Waits' : 'Leaves it alone';
}

// A record of a run's history as a sentence.

import { duration, local, present, seconds } from './time.js';
import { spoken } from './words.js';
import { because, stance, why } from './words-why.js';

/** @import { Entry } from './fold.js' */

const HOW = /** @type {Record<string, string>} */ ({ webhook: 'Alertmanager told so', api: 'Alertmanager says so when asked', superseded: 'it went and came back', abandoned: 'whoever sent it is gone' });

/** What was said with it. @param {Entry} record */
const said = ({ detail }) => (detail.comment ? `: ${detail.comment}` : '');
/** @param {unknown} text a time */
const at = (text) => (typeof text === 'string' ? local(seconds(text), present()) : '?');
/** @param {Entry} record */
const took = ({ detail }) => (typeof detail.duration_ms === 'number' ? ` after ${length(detail.duration_ms / 1000)}` : '');

/** A length of time, short ones to the millisecond. @param {number} time seconds */
export const length = (time) => (time < 1 ? `${Math.round(time * 1000)} ms` : time < 10 ? `${time.toFixed(1)} s` : duration(time));

/** @type {Record<string, (record: Entry) => string>} */
const SENTENCES = {
  alert_firing: ({ annotations }) => `The alert fires${annotations?.summary ? `: ${annotations.summary}` : ''}`,
  alert_resolved: ({ detail }) => `The alert has ended: ${HOW[detail.how] ?? detail.how}`,
  decision: (record) => `${stance(String(record.reason))}: ${why(String(record.reason), record)}`,
  approval_requested: ({ detail }) => `People are asked, until ${at(detail.expires_at)}`,
  approval_granted: (record) => `${record.actor} approves it${said(record)}`,
  approval_denied: (record) => `${record.actor} denies it${said(record)}`,
  approval_expired: () => 'Nobody has answered in time',
  action_started: ({ step, detail }) => `Step ${step} begins: ${detail.description ?? detail.action}`,
  action_ok: (record) => `Step ${record.step} has done it${took(record)}`,
  action_fail: (record) => `Step ${record.step} failed${took(record)}: ${record.detail.error ?? 'nobody knows why'}`,
  action_dry_run: ({ detail }) => `This is what it would have done: ${detail.action}`,
  action_interrupted: ({ step, reason }) => `Step ${step} was interrupted: ${because(reason)}`,
  cancel_requested: (record) => (record.reason === 'resolved' ? 'It is to end, because the alert has' : `${record.actor} asks to end it${said(record)}`),
  action_cancelled: ({ reason }) => `The run ends: ${because(reason)}`,
  heal_confirmed: ({ reason }) => `Healed: ${because(reason)}`,
  heal_failed: ({ step, reason }) => `Step ${step} did not help: ${because(reason)}`,
  heal_inconclusive: ({ step, reason }) => `Nobody knows whether step ${step} has helped: ${because(reason)}`,
  escalated: ({ reason }) => `Left to people: ${because(reason)}`,
  notified: ({ detail }) => (detail.of ? `${detail.channel} has been told` : `Alertmanager has taken the alert ${detail.alert}`),
  notify_failed: ({ detail }) => (detail.of ? `${detail.channel} could not be told: ${detail.error}` : `No Alertmanager takes the alert ${detail.alert}; it is tried on`),
  rerun_requested: (record) => `${record.actor} lets the rule try again${said(record)}`,
  silence_created: (record) => `${record.actor} minds the alert until ${at(record.detail.ends_at)}${said(record)}`,
  silence_expired: ({ reason }) => (reason === 'resolved' ? 'The acknowledgement ends with the alert' : 'Somebody has ended the silence in Alertmanager'),
};

/** @param {Entry} record @returns {string} */
export const told = (record) => (Object.hasOwn(SENTENCES, record.kind) ? SENTENCES[record.kind](record) : spoken(record.kind));

// What records of people change: what is left to them, what they were told, and what they acknowledge.

import { longOver, seconds } from './time.js';

/** @import { Entry, Fields, State } from './fold.js' */

/** A run was left to people: known for as long as its alert fires. @param {State} state @param {Fields} run @param {Entry} record */
export function leftToPeople(state, run, record) {
  const episode = state.episodes.get(run.fingerprint);
  if (!episode) return;
  const failure = {
    run: run.id,
    episode: run.episode,
    fingerprint: run.fingerprint,
    alertname: run.alertname,
    severity: episode.labels.severity ?? '',
    rule: run.rule,
    target: run.target,
    mode: run.mode,
    reason: record.reason ?? '',
    failed_at: seconds(record.ts),
    correlation_id: run.correlation_id,
    told: null,
  };
  state.failures.set(run.fingerprint, { ...state.failures.get(run.fingerprint), [run.rule]: failure });
}

/** A new run on the same alert: people have asked for it, and know. @param {State} state @param {string} fingerprint @param {string} rule */
export function triedAgain(state, fingerprint, rule) {
  const { [rule]: _, ...others } = state.failures.get(fingerprint) ?? {};
  if (Object.keys(others).length) state.failures.set(fingerprint, others);
  else state.failures.delete(fingerprint);
}

/** @param {State} state @param {Entry} record */
function notified(state, { kind: told, run: id, rule, fingerprint, detail }) {
  // A word of Slack or PagerDuty: what is owed to those is the service's own business.
  if (detail.of !== undefined) return;
  const run = state.runs.get(id);
  const known = state.failures.get(fingerprint);
  if (detail.alert === 'AutohealActive') {
    if (run) state.runs.set(id, { ...run, hold_told: told });
  } else if (id === undefined) {
    const storm = state.storms.get(rule);
    if (storm) state.storms.set(rule, { ...storm, told });
  } else if (known && Object.hasOwn(known, rule) && known[rule].run === id) {
    state.failures.set(fingerprint, { ...known, [rule]: { ...known[rule], told } });
  }
}

/** @param {State} state @param {Entry} record */
function answered(state, { detail }) {
  state.silence_requests = state.silence_requests.filter((seq) => seq !== detail.request);
}

/** @type {Record<string, (state: State, record: Entry) => void>} */
export const PEOPLE = {
  notified,
  notify_failed: notified,

  silence_requested(state, { seq }) {
    state.silence_requests.push(seq);
  },
  silence_failed: answered,
  silence_created(state, record) {
    answered(state, record);
    const { actor, detail, fingerprint } = record;
    const ts = seconds(record.ts);
    state.silences.delete(detail.replaces);
    for (const [id, { ends_at }] of state.silences) if (longOver(ends_at, ts)) state.silences.delete(id);
    state.silences.set(detail.silence_id, {
      id: detail.silence_id,
      matchers: detail.matchers,
      actor,
      ends_at: seconds(detail.ends_at),
      comment: detail.comment ?? '',
      made_at: ts,
      reminded_at: ts,
      ahead: fingerprint === undefined && detail.covers === 0,
    });
  },
  silence_extended(state, { detail }) {
    const known = state.silences.get(detail.replaces);
    if (!known) return;
    state.silences.delete(detail.replaces);
    state.silences.set(detail.silence_id, { ...known, id: detail.silence_id });
  },
  ack_old(state, { ts, detail }) {
    const known = state.silences.get(detail.silence_id);
    if (known) state.silences.set(known.id, { ...known, reminded_at: seconds(ts) });
  },
  silence_expired(state, { detail }) {
    state.silences.delete(detail.silence_id);
  },

  watchdog_missing(state) {
    state.watchdog_missing = true;
  },
  watchdog_back(state) {
    state.watchdog_missing = false;
  },
};

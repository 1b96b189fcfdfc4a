// What records of alerts change: episodes, suspects, and what was decided on them.

import { holdsNone } from './fold-guards.js';
import { begin } from './fold-runs.js';
import { seconds } from './time.js';

/** @import { Entry, State } from './fold.js' */

const SUSPECTS_KEPT = 24 * 3600;

/** @type {Record<string, (state: State, record: Entry) => void>} */
export const ALERTS = {
  alert_firing(state, record) {
    state.suspects.delete(record.fingerprint);
    state.episodes.set(record.fingerprint, {
      id: record.episode,
      fingerprint: record.fingerprint,
      labels: record.labels ?? {},
      annotations: record.annotations ?? {},
      starts_at: seconds(record.detail.starts_at),
      opened_at: seconds(record.ts),
      correlation_id: record.correlation_id ?? null,
      caused_by: record.actor,
      decisions: {},
      runs: {},
      ran: [],
      released: {},
      asked_by: {},
      dispute: null,
    });
  },

  alert_resolved(state, record) {
    const { fingerprint } = record;
    state.suspects.delete(fingerprint);
    for (const id of Object.values(state.episodes.get(fingerprint)?.runs ?? {})) {
      const run = state.runs.get(id);
      if (run) state.runs.set(id, { ...run, resolved: record.detail.how });
    }
    state.episodes.delete(fingerprint);
    state.failures.delete(fingerprint);
    for (const [rule, storm] of state.storms) {
      if (!Object.hasOwn(storm.held, fingerprint)) continue;
      delete storm.held[fingerprint];
      if (storm.over && holdsNone(storm)) state.storms.delete(rule);
    }
  },

  alert_disputed(state, { fingerprint, episode, ts, detail }) {
    const known = state.episodes.get(fingerprint);
    if (known?.id !== episode) return;
    const dispute = { since: seconds(ts), ends_at: seconds(detail.ends_at), heard_at: seconds(detail.heard_at) };
    state.episodes.set(fingerprint, { ...known, dispute });
  },

  alert_undisputed(state, { fingerprint, episode }) {
    const known = state.episodes.get(fingerprint);
    if (known?.id === episode) state.episodes.set(fingerprint, { ...known, dispute: null });
  },

  alert_suspect(state, record) {
    const now = seconds(record.ts);
    state.suspects.delete(record.fingerprint);
    state.suspects.set(record.fingerprint, {
      labels: record.labels ?? {},
      annotations: record.annotations ?? {},
      starts_at: seconds(record.detail.starts_at),
      seen_at: now,
      correlation_id: record.correlation_id ?? null,
    });
    // The oldest stand first.
    for (const [fingerprint, suspect] of state.suspects) {
      if (now - suspect.seen_at <= SUSPECTS_KEPT) break;
      state.suspects.delete(fingerprint);
    }
  },

  decision(state, record) {
    const episode = state.episodes.get(record.fingerprint);
    if (!episode || episode.id !== record.episode) return;
    const { rule = '', target = null, mode = null } = record;
    const decided = { reason: record.reason, target, mode, plan_digest: record.detail?.plan_digest ?? null };
    const decisions = { ...episode.decisions, [rule]: decided };
    state.episodes.set(record.fingerprint, { ...episode, decisions });
    const storm = state.storms.get(rule);
    const held = storm && !storm.over && !Object.hasOwn(episode.released, rule);
    if (target !== null && held) storm.held[record.fingerprint] = target;
    if (record.run !== undefined && mode !== null) begin(state, record);
  },
};

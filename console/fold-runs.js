// What records of runs change: how far each has come, what it holds, and the breaker of its rule.

import { failed, healed, letGo, wordOn } from './fold-guards.js';
import { leftToPeople, triedAgain } from './fold-people.js';
import { seconds } from './time.js';

/** @import { Entry, Fields, State } from './fold.js' */

/** How many of the runs that have ended are kept, as many as `GET /state` shows. */
export const ENDED_KEPT = 200;

/** The alert that the service sends to itself: its runs are not kept. */
export const SELF_TEST = 'AutohealSelfTest';

/** A decision began a run. @param {State} state @param {Entry} record */
export function begin(state, record) {
  const { rule = '', target, reason } = record;
  const episode = /** @type {Fields} */ (state.episodes.get(record.fingerprint));
  const waits = reason === 'awaiting_approval';
  // Whoever let it go from a storm has approved it.
  const word = reason === 'act' && record.mode === 'approve' ? wordOn(episode, rule) : null;
  state.runs.set(record.run, {
    id: record.run,
    episode: episode.id,
    fingerprint: episode.fingerprint,
    alertname: episode.labels.alertname ?? '',
    rule,
    target,
    mode: record.mode,
    plan: record.detail.plan,
    plan_digest: record.detail.plan_digest,
    created_at: seconds(record.ts),
    correlation_id: record.correlation_id ?? null,
    caused_by: episode.caused_by,
    asked_by: Object.hasOwn(episode.asked_by, rule) ? episode.asked_by[rule] : null,
    state: waits ? 'awaiting_approval' : 'planned',
    approval: word && { rule_digest: word.rule_digest, requested_at: word.ts, expires_at: word.ts, by: word.by, observed: word.observed },
    step: 0,
    acted_at: null,
    action_ok: null,
    again: false,
    began_at: null,
    hold_told: null,
    resolved: null,
    reason,
    ended_at: null,
    ended_by: null,
  });
  if (!waits && reason !== 'act') return;
  state.episodes.set(episode.fingerprint, { ...episode, runs: { ...episode.runs, [rule]: record.run } });
  state.locks.set(target, record.run);
  triedAgain(state, episode.fingerprint, rule);
  if (!waits) state.working.set(record.run, rule);
}

/** Change the run that a record is about. @param {(run: Fields, record: Entry) => Fields} changes */
const moves = (changes) => (/** @type {State} */ state, /** @type {Entry} */ record) => {
  const run = state.runs.get(record.run);
  if (run) state.runs.set(run.id, { ...run, ...changes(run, record) });
};

const stands = (/** @type {string} */ name) => moves((_, { reason = null }) => ({ state: name, reason }));

const actionEnded = moves((run, { kind, ts, reason = null }) => ({
  acted_at: seconds(ts),
  action_ok: kind === 'action_interrupted' ? null : kind === 'action_ok',
  ...(run.state === 'cancelling' ? {} : { state: 'verifying', reason }),
}));

/** @param {string} terminal */
const ends = (terminal) => (/** @type {State} */ state, /** @type {Entry} */ record) => {
  const run = state.runs.get(record.run);
  if (!run) return;
  const { reason = null, actor } = record;
  const end = { ended_at: seconds(record.ts), ended_by: actor === 'system' ? null : actor };
  state.runs.set(run.id, { ...run, ...end, state: terminal, reason, plan: null });
  state.working.delete(run.id);
  if (state.locks.get(run.target) === run.id) state.locks.delete(run.target);
  const episode = state.episodes.get(run.fingerprint);
  if (episode && episode.runs[run.rule] === run.id) {
    const { [run.rule]: _, ...runs } = episode.runs;
    // A run that a guard stopped before it began leaves the rule free to try this episode again.
    const over = run.step > 0 || terminal !== 'cancelled' || reason === 'cancelled';
    state.episodes.set(run.fingerprint, { ...episode, runs, ran: over ? [...episode.ran, run.rule] : episode.ran });
  }
  // It comes every few minutes: in a week no other run would be among the last ones.
  if (run.alertname === SELF_TEST) {
    state.runs.delete(run.id);
    return;
  }
  state.ended_runs.push(run.id);
  if (state.ended_runs.length > ENDED_KEPT) state.runs.delete(/** @type {string} */ (state.ended_runs.shift()));
};

/** @type {Record<string, (state: State, record: Entry) => void>} */
export const RUNS = {
  approval_requested: moves((_, { ts, detail }) => ({
    approval: {
      rule_digest: detail.rule_digest,
      requested_at: seconds(ts),
      expires_at: seconds(detail.expires_at),
      by: null,
      observed: detail.observed ?? null,
    },
  })),
  approval_granted: moves((run, { actor }) => ({
    state: 'planned',
    reason: null,
    approval: { ...run.approval, by: actor },
  })),
  approval_denied: ends('denied'),
  approval_expired(state, record) {
    const run = state.runs.get(record.run);
    if (run) leftToPeople(state, run, record);
    ends('expired')(state, record);
  },
  cancel_requested: moves((_, { reason = null, actor }) => ({ state: 'cancelling', reason, ended_by: actor })),
  action_started(state, record) {
    moves(({ step: before, began_at }, { step, ts }) => {
      const again = step === before;
      const began = { began_at: began_at ?? seconds(ts) };
      return { ...began, state: 'acting', step: step ?? 1, acted_at: null, action_ok: null, again, reason: null };
    })(state, record);
    const run = state.runs.get(record.run);
    if (run) state.working.set(run.id, run.rule);
  },
  action_ok: actionEnded,
  action_fail: actionEnded,
  action_interrupted: actionEnded,
  action_dry_run: ends('dry_run'),
  action_cancelled(state, record) {
    const run = state.runs.get(record.run);
    const episode = run && state.episodes.get(run.fingerprint);
    const word = wordOn(episode, run?.rule);
    // Only an end by which what was approved had changed says what that was.
    if (episode?.id === run?.episode && episode && word && record.detail?.approved !== undefined)
      letGo(state, episode, run?.rule, { ...word, void: true });
    ends('cancelled')(state, record);
  },
  heal_failed: stands('planned'),
  heal_inconclusive: stands('escalating'),
  heal_confirmed(state, record) {
    const run = state.runs.get(record.run);
    if (run) healed(state, run.rule);
    ends('healed')(state, record);
  },
  escalated(state, record) {
    const storm = record.run === undefined ? state.storms.get(record.rule) : undefined;
    if (storm) state.storms.set(record.rule, { ...storm, escalated_at: seconds(record.ts) });
    const run = state.runs.get(record.run);
    if (!run) return;
    // One that was judged: a run that was stopped before its action, or by a fault of ours, tells nothing of its rule.
    if (run.step > 0 && ['planned', 'escalating'].includes(run.state)) failed(state, run, seconds(record.ts));
    leftToPeople(state, run, record);
    ends('escalated')(state, record);
  },
  rerun_requested(state, { fingerprint, rule, actor }) {
    const episode = state.episodes.get(fingerprint);
    if (!episode) return;
    const { [rule]: _, ...released } = episode.released;
    const ran = episode.ran.filter((/** @type {string} */ one) => one !== rule);
    state.episodes.set(fingerprint, { ...episode, ran, released, asked_by: { ...episode.asked_by, [rule]: actor } });
  },
};

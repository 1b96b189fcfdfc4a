// What records of guards change: breakers, storms, pauses, space.

import { longOver, seconds } from './time.js';

/** @import { Entry, Fields, State } from './fold.js' */

const AT_REST = {
  failures: 0, failed_at: 0, opened_at: null, opens: 0, trial_failed: false, digest: '', demoted: false,
};

/** @param {State} state @param {string} rule @param {Fields} changes */
function breaker(state, rule, changes) {
  state.breakers.set(rule, { ...(state.breakers.get(rule) ?? AT_REST), ...changes });
}

/** A run of this rule has healed. @param {State} state @param {string} rule */
export function healed(state, rule) {
  const known = state.breakers.get(rule);
  if (!known) return;
  if (known.opened_at === null) state.breakers.delete(rule);
  else breaker(state, rule, { failures: 0, trial_failed: false });
}

/** A run has failed. @param {State} state @param {Fields} run @param {number} ts epoch seconds */
export function failed(state, run, ts) {
  const { failures, opened_at, trial_failed } = state.breakers.get(run.rule) ?? AT_REST;
  // Runs that were under way when it opened are no trials.
  const trial = trial_failed || (opened_at !== null && run.created_at > opened_at);
  breaker(state, run.rule, { failures: failures + 1, failed_at: ts, trial_failed: trial });
}

/** @param {State} state @param {Entry} record */
function resumed(state, { rule = null, detail }) {
  state.pauses = state.pauses.filter((pause) => pause.rule !== rule || pause.how !== detail.how);
}

/** What a storm of this rule holds and people may let go. @param {State} state @param {string} rule @returns {Fields[]} */
export function batch(state, rule) {
  return Object.keys(state.storms.get(rule)?.held ?? {})
    .map((fingerprint) => /** @type {Fields} */ (state.episodes.get(fingerprint)))
    .filter((episode) => !Object.hasOwn(episode.runs, rule) && !episode.ran.includes(rule))
    .filter((episode) => (episode.decisions[rule]?.plan_digest ?? null) !== null);
}

/** Somebody's word that a storm of this rule need not hold it. @param {Fields | undefined} episode @param {string} rule */
export function wordOn(episode, rule) {
  return episode && Object.hasOwn(episode.released, rule) ? episode.released[rule] : null;
}

/** @param {State} state @param {Fields} episode @param {string} rule @param {Fields} word */
export function letGo(state, episode, rule, word) {
  state.episodes.set(episode.fingerprint, { ...episode, released: { ...episode.released, [rule]: word } });
}

/** @param {Fields} storm */
export function holdsNone({ held }) {
  for (const _ in held) return false;
  return true;
}

/** @type {Record<string, (state: State, record: Entry) => void>} */
export const GUARDS = {
  space_low(state) {
    state.space_low = true;
  },
  space_ok(state) {
    state.space_low = false;
  },

  breaker_opened(state, { rule, ts, detail }) {
    const opens = (state.breakers.get(rule) ?? AT_REST).opens + 1;
    breaker(state, rule, { opened_at: seconds(ts), digest: detail.rule_digest, trial_failed: false, opens });
  },
  breaker_closed(state, { rule }) {
    state.breakers.delete(rule);
  },
  rule_demoted(state, { rule }) {
    breaker(state, rule, { demoted: true });
  },

  storm_began(state, { rule, ts }) {
    const held = { ...state.storms.get(rule)?.held };
    for (const [fingerprint, episode] of state.episodes) {
      const target = episode.decisions[rule]?.target ?? null;
      if (target !== null && !Object.hasOwn(episode.released, rule)) held[fingerprint] = target;
    }
    state.storms.set(rule, { began_at: seconds(ts), over: false, held, escalated_at: null, told: null });
  },
  storm_released(state, { seq, rule, ts, actor, detail }) {
    const storm = state.storms.get(rule);
    if (!storm) return;
    // Not listed in the record, which could not hold ten thousand: it was made from this very state.
    for (const episode of batch(state, rule)) {
      const { plan_digest } = episode.decisions[rule];
      const word = { ts: seconds(ts), by: actor, seq, observed: null, void: false };
      letGo(state, episode, rule, { plan_digest, rule_digest: detail.rule_digest, ...word });
      delete storm.held[episode.fingerprint];
    }
    if (storm.over && holdsNone(storm)) state.storms.delete(rule);
  },
  storm_observed(state, { rule, detail }) {
    for (const [fingerprint, observed] of Object.entries(detail.observed)) {
      const episode = state.episodes.get(fingerprint);
      const word = wordOn(episode, rule);
      if (!episode || word?.seq !== detail.released) continue;
      letGo(state, episode, rule, { ...word, observed });
      const run = Object.hasOwn(episode.runs, rule) && state.runs.get(episode.runs[rule]);
      if (run && run.state === 'planned' && run.reason === 'act' && run.approval)
        state.runs.set(run.id, { ...run, approval: { ...run.approval, observed } });
    }
  },
  storm_ended(state, { rule }) {
    const storm = state.storms.get(rule);
    if (!storm) return;
    if (holdsNone(storm)) state.storms.delete(rule);
    else state.storms.set(rule, { ...storm, over: true });
  },

  paused(state, record) {
    resumed(state, record);
    const { rule = null, actor, detail } = record;
    const since = seconds(record.ts);
    const until = detail.until === undefined ? null : seconds(detail.until);
    state.pauses = state.pauses.filter((pause) => !longOver(pause.until, since));
    state.pauses.push({ rule, how: detail.how, actor, reason: detail.reason, since, until });
  },
  resumed,
};

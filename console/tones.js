// How a record looks: a colour, and a shape for those who do not see the colour.

import { s } from './dom.js';

/** @import { Entry } from './fold.js' */

/** @typedef {'failure' | 'success' | 'dry' | 'other'} Tone */

/** The kinds that are not merely told; the rest is other. */
const KINDS = {
  failure:
    'action_fail action_interrupted heal_failed heal_inconclusive escalated approval_expired breaker_opened ' +
    'rule_demoted storm_began silence_failed notify_failed watchdog_missing space_low keys_failed log_repaired ' +
    'config_rejected alert_rejected auth_failed selftest_fail',
  success:
    'action_ok heal_confirmed alert_resolved breaker_closed storm_ended watchdog_back space_ok keys_back notified ' +
    'selftest_ok',
  dry: 'action_dry_run',
};

/** The tone of each of them, where nothing else of a record says otherwise. @type {Map<string, Tone>} */
export const TONE_OF = new Map(
  Object.entries(KINDS).flatMap(([tone, kinds]) => kinds.split(' ').map((kind) => [kind, /** @type {Tone} */ (tone)])),
);

/** In the order in which they are offered, with their names and shapes (in a box of 16). */
export const TONES = /** @type {const} */ ({
  failure: { name: 'Failures', one: 'failure', shape: 'M8 1 15.5 14.5H.5ZM7.2 6v4.2h1.6V6Zm0 5.2v1.6h1.6v-1.6Z' },
  success: { name: 'Successes', one: 'success', shape: 'M8 .5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15ZM6.9 11.6 3.5 8.2l1.2-1.2 2.2 2.2 4.4-4.4 1.2 1.2Z' },
  dry: { name: 'Dry runs', one: 'dry run', shape: 'M1 1h14v14H1Zm2 2v10h10V3Z' },
  other: { name: 'Other', one: '', shape: 'M8 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7Z' },
});

/** @param {Entry} record @returns {Tone} */
export function tone({ kind, mode, reason }) {
  const own = TONE_OF.get(kind) ?? 'other';
  return own !== 'failure' && (mode === 'dry_run' || reason === 'dry_run') ? 'dry' : own;
}

/** The shape; its name is read aloud, where it has one and nothing beside it says the same. @param {Tone} name @param {boolean} [alone] */
export function glyph(name, alone = true) {
  const { one, shape } = TONES[name];
  const heard = one && alone ? { role: 'img', 'aria-label': one } : { 'aria-hidden': 'true' };
  return s('svg', { viewBox: '0 0 16 16', class: `glyph ${name}`, ...heard }, s('path', { d: shape, 'fill-rule': 'evenodd' }));
}

// What the page asks the gateway. Whoever is logged in no more is sent to the login, and comes back here.

import { setClock } from './time.js';

/** @import { Entry, Fields } from './fold.js' */

/** An answer that is none: `status` is HTTP's, 0 when nobody answered; `fields` what else its problem tells (RFC 9457). */
export class Refused extends Error {
  /** @param {string} message @param {number} status @param {Fields} [fields] */
  constructor(message, status, fields = {}) {
    super(message);
    this.status = status;
    this.fields = fields;
  }
}

const PATIENCE_MS = 30_000;

/**
 * An answer that is a 2xx. Raises Refused for any other. @param {string} path @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function request(path, options) {
  const asked = Date.now();
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused('The gateway does not answer.', 0);
  }
  setClock(answer.headers.get('Date'), asked, Date.now());
  if (answer.ok) return answer;
  if (answer.status === 401) {
    // What somebody is writing is not to be lost: there the way to the login is theirs.
    if (document.querySelector('dialog[open]')) throw new Refused('You are logged in no more.', 401);
    location.assign(`/console/login.html${location.hash}`);
    // The page is about to go: nothing that waits for the answer is to run on.
    return new Promise(() => {});
  }
  const body = await answer.json().catch(() => ({}));
  const errors = Array.isArray(body.errors) ? body.errors.map(String) : [];
  const detail = String(body.detail ?? `What stands before the gateway answers in its place, with ${answer.status}.`);
  // Where there are few, `detail` has them already.
  throw new Refused([detail, ...errors.filter((/** @type {string} */ one) => !detail.includes(one))].join(' '), answer.status, body);
}

/**
 * The JSON of an answer. Raises Refused for any that is not a 2xx. @param {string} path @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function ask(path, options = {}) {
  const headers = { Accept: 'application/json', ...options.headers };
  const answer = await request(path, { signal: AbortSignal.timeout(PATIENCE_MS), ...options, headers });
  return answer.json().catch(() => {
    throw new Refused('The answer broke off, or is not the gateway’s.', 0);
  });
}

/** @param {string} path @param {Record<string, string | number | undefined>} given */
function withQuery(path, given) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) if (value !== undefined) query.set(name, String(value));
  return query.size ? `${path}?${query}` : path;
}

/** `GET` with these parameters, less those that are undefined. @param {string} path @param {Record<string, string | number | undefined>} [given] */
export const get = (path, given = {}) => ask(withQuery(path, given));

/**
 * All records that match, as JSON lines, and what may be missing (`first-last, …`), null for nothing. Raises Refused, also
 * when the stream ends before its end. @param {Record<string, string | undefined>} given @param {AbortSignal} signal
 */
export async function exported(given, signal) {
  const answer = await request(withQuery('/audit', given), { signal, headers: { Accept: 'application/x-ndjson' } });
  try {
    return { lines: await answer.blob(), unread: answer.headers.get('Autoheal-Unread') };
  } catch {
    throw new Refused('The export broke off, so nothing was kept of it. Try again.', 0);
  }
}

/** What a refusal means for whoever asked. */
const MEANS = new Map([[403, 'Somebody else has to.'], [404, 'It is gone.'], [409, 'Nothing was done.'], [410, 'Too late, nothing was done.']]);

/** Have something done. Raises Refused, with what that means. @param {string} path @param {Fields} body */
export const post = (path, body) =>
  ask(path, { method: 'POST', headers: { 'X-Autoheal-CSRF': '1' }, body: JSON.stringify(body) }).catch(({ message, status, fields }) => {
    // Only the gateway itself can tell that nothing was done.
    const unknown = fields.detail === undefined && (status === 0 || status >= 500);
    throw new Refused([MEANS.get(status), message, unknown && 'It may have been done all the same: look before you try again.'].filter(Boolean).join(' '), status, fields);
  });

/**
 * `GET /`, without credentials: asking whether the gateway lives must not keep a session alive.
 * @param {number} patience milliseconds @returns {Promise<Fields>}
 */
export const overview = (patience) => ask('/', { credentials: 'omit', signal: AbortSignal.timeout(patience) });

/** The newest records before a seq, newest first. @param {number} n @param {number} [before] @returns {Promise<Entry[]>} */
export const newest = async (n, before) => (await get('/audit', { n, before })).records;

/**
 * The records after seq `after` and before seq `before`, oldest first, as many of them as the log has.
 * @param {number} after @param {number} before @returns {Promise<Entry[]>}
 */
export async function between(after, before) {
  /** @type {Entry[]} */
  const found = [];
  /** @type {number | null} */
  let next = before;
  while (next !== null && next > after + 1) {
    const page = await get('/audit', { n: Math.min(5000, next - after - 1), before: next });
    found.push(...page.records);
    // A page may be empty and go on.
    next = page.next;
  }
  return found.filter(({ seq }) => seq > after).reverse();
}

/** End the session, and go on where the gateway says: to the provider, so that it ends there as well. */
export async function logOut() {
  location.assign((await post('/logout', {})).next);
}

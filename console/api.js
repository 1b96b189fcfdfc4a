// What the page asks the gateway. Whoever is logged in no more is sent to the login, and comes back here.

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

/** Go to the login, by the page that keeps where we are; this one ends. */
export function toLogin() {
  location.assign(`/console/login.html${location.hash}`);
}

/**
 * An answer that is a 2xx. Raises Refused for any other. @param {string} path @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused('The gateway does not answer.', 0);
  }
  if (answer.status === 401) {
    toLogin();
    // The page is about to go: nothing that waits for the answer is to run on.
    return new Promise(() => {});
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const errors = Array.isArray(body.errors) ? body.errors.map(String) : [];
  const detail = String(body.detail ?? `${path} answers ${answer.status}`);
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
  return answer.json().catch(() => ({}));
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

/** @param {string} path @param {Fields} body */
export const post = (path, body) =>
  ask(path, { method: 'POST', headers: { 'X-Autoheal-CSRF': '1' }, body: JSON.stringify(body) });

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

import assert from 'node:assert/strict';
import test, { beforeEach } from 'node:test';

import { Refused, between, get, overview, post } from '../../console/api.js';
import { present } from '../../console/time.js';

/** What was asked, and what is answered next. */
let asked = [];
let answers = [];
const answer = (status, body, date) => answers.push({ status, ok: status < 300, headers: new Headers(date ? { Date: date } : {}), json: async () => (typeof body === 'string' ? JSON.parse(body) : body) });

globalThis.fetch = async (path, options) => {
  asked.push([path, options]);
  const next = answers.shift();
  if (!next) throw new TypeError('fetch failed');
  return next;
};
const gone = [];
let dialog = null;
globalThis.document = { querySelector: (selector) => (selector === 'dialog[open]' ? dialog : null) };
globalThis.location = { hash: '#/audit?q=a', assign: (to) => gone.push(to) };

beforeEach(() => {
  asked = [];
  answers = [];
});

test('parameters are encoded, and absent ones left out', async () => {
  answer(200, {});
  await get('/audit', { q: 'a="b" & c', before: undefined, n: 5 });
  assert.equal(asked[0][0], '/audit?q=a%3D%22b%22+%26+c&n=5');
});

test('a word of somebody carries the header that no other site can send', async () => {
  answer(200, { paused: [] });
  await post('/pause', { reason: 'x' });
  const [, { method, headers, body }] = asked[0];
  assert.deepEqual([method, headers['X-Autoheal-CSRF'], body], ['POST', '1', '{"reason":"x"}']);
});

test('what is refused says why, with every fault', async () => {
  answer(400, { detail: 'The body is bad.', errors: ['reason: must say why'] });
  await assert.rejects(post('/pause', {}), (error) => error instanceof Refused && error.status === 400 && error.message === 'The body is bad. reason: must say why');
  answer(502, '<html>');
  await assert.rejects(get('/x'), { message: 'What stands before the gateway answers in its place, with 502.', status: 502 });
  await assert.rejects(get('/x'), { message: 'The gateway does not answer.', status: 0 });
  answer(200, '<html>');
  await assert.rejects(get('/x'), { message: 'The answer broke off, or is not the gateway’s.', status: 0 });
});

test('a word that is refused says what that means', async () => {
  const told = async (status, body = { detail: 'The run r1 follows from what ann has sent.' }) => {
    answer(status, body);
    return post('/runs/r1/approve', {}).then(() => 'done', (error) => `${error.status} ${error.message}`);
  };
  assert.match(await told(403), /^403 Somebody else has to\. The run/);
  assert.match(await told(409), /^409 Nothing was done\. /);
  assert.match(await told(410), /^410 Too late, nothing was done\. /);
  for (const status of [502, 503]) assert.equal(await told(status), `${status} The run r1 follows from what ann has sent.`);
});

test('a word whose answer is lost is not said to be without effect', async () => {
  const unknown = /It may have been done all the same: look before you try again\.$/;
  await assert.rejects(post('/pause', {}), { message: unknown });
  for (const status of [200, 502, 503, 504]) {
    answer(status, '<html>');
    await assert.rejects(post('/pause', {}), { message: unknown });
  }
  answer(413, '<html>');
  await assert.rejects(post('/pause', {}), ({ message }) => !unknown.test(message));
});

test('the clock is the gateway’s', async () => {
  answer(200, {}, new Date(Date.now() + 3 * 3_600_000).toUTCString());
  await get('/state');
  assert.ok(Math.abs(present() - Date.now() / 1000 - 3 * 3600) < 2);
  answer(200, {}, new Date().toUTCString());
  await get('/state');
  assert.ok(Math.abs(present() - Date.now() / 1000) < 2);
});

test('whoever is logged in no more goes to the login, and nothing goes on', async () => {
  answer(401, {});
  const ends = await Promise.race([get('/state').then(() => 'answered', () => 'refused'), new Promise((then) => setImmediate(then, 'waits'))]);
  assert.deepEqual([ends, gone], ['waits', ['/console/login.html#/audit?q=a']]);
});

test('while somebody fills in a dialog the page stays', async () => {
  dialog = {};
  answer(401, { detail: 'No session.' });
  await assert.rejects(post('/pause', {}), { message: 'You are logged in no more.', status: 401 });
  dialog = null;
  assert.equal(gone.length, 1);
});

test('asking whether it lives does not keep a session alive', async () => {
  answer(200, {});
  await overview(1000);
  assert.equal(asked[0][1].credentials, 'omit');
});

test('records between two seqs are put together of pages, oldest first, also of empty ones', async () => {
  const page = (seqs, next) => answer(200, { records: seqs.map((seq) => ({ seq })), next, partial: false });
  page([9, 8], 8);
  page([], 6);
  page([5, 4, 3], 3);
  assert.deepEqual((await between(3, 10)).map(({ seq }) => seq), [4, 5, 8, 9]);
  assert.deepEqual(asked.map(([path]) => path), ['/audit?n=6&before=10', '/audit?n=4&before=8', '/audit?n=2&before=6']);
});

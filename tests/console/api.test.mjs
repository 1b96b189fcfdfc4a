import assert from 'node:assert/strict';
import test, { beforeEach } from 'node:test';

import { Refused, between, get, overview, post } from '../../console/api.js';

/** What was asked, and what is answered next. */
let asked = [];
let answers = [];
const answer = (status, body) => answers.push({ status, ok: status < 300, json: async () => (typeof body === 'string' ? JSON.parse(body) : body) });

globalThis.fetch = async (path, options) => {
  asked.push([path, options]);
  const next = answers.shift();
  if (!next) throw new TypeError('fetch failed');
  return next;
};
const gone = [];
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
  await assert.rejects(get('/x'), { message: '/x answers 502', status: 502 });
  await assert.rejects(get('/x'), { message: 'The gateway does not answer.', status: 0 });
});

test('whoever is logged in no more goes to the login, and nothing goes on', async () => {
  answer(401, {});
  const ends = await Promise.race([get('/state').then(() => 'answered', () => 'refused'), new Promise((then) => setImmediate(then, 'waits'))]);
  assert.deepEqual([ends, gone], ['waits', ['/console/login.html#/audit?q=a']]);
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

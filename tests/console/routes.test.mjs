import assert from 'node:assert/strict';
import test from 'node:test';

import { ROUTES, address, parse } from '../../console/routes.js';

test('an address leads back to what it was made of', () => {
  const hostile = 'r1/../?q=#%';
  const { route, params } = parse(address('live', hostile, { q: 'a=b&c', n: '2?' }));
  assert.equal(route.name, 'live');
  assert.deepEqual([params.id, params.query.get('q'), params.query.get('n')], [hostile, 'a=b&c', '2?']);
});

test('what names no view leads to the first, and never fails', () => {
  for (const hash of ['', '#', '#/', '#/nowhere', '#/constructor', '#x?y']) assert.equal(parse(hash).route, ROUTES[0]);
  assert.equal(parse('#/live/%E0%A4%A').params.id, '%E0%A4%A');
});

test('each view has a name and a title of its own', () => {
  for (const of of [({ name }) => name, ({ view }) => view.title]) assert.equal(new Set(ROUTES.map(of)).size, ROUTES.length);
});

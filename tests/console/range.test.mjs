import assert from 'node:assert/strict';
import test from 'node:test';

import { localInput, written } from '../../console/range.js';

test('a time goes into the input and comes out as it was, to the second', () => {
  for (const text of ['2026-05-01T12:00:00Z', '2026-01-31T23:59:59Z']) assert.equal(written(localInput(text)), text);
  assert.equal(written(localInput('2026-05-01T14:00:00.123456+02:00')), '2026-05-01T12:00:00Z');
});

test('nothing, and what is no time, is nothing', () => {
  assert.deepEqual([localInput(undefined), localInput('3d'), localInput('24h'), written('')], ['', '', '', undefined]);
});

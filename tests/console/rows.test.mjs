import assert from 'node:assert/strict';
import test from 'node:test';

import { withGaps } from '../../console/rows.js';

const rows = (...seqs) => seqs.map((seq) => ({ seq, kind: 'login' }));

test('where seqs are missing a row says which; where none are, there is none', () => {
  assert.deepEqual(withGaps([]), []);
  assert.deepEqual(withGaps(rows(4, 3, 2)), rows(4, 3, 2));
  const [seven, gap, three] = withGaps(rows(7, 3));
  assert.deepEqual([seven.seq, gap, three.seq], [7, { kind: 'gap', seq: 7, from: 4, to: 6 }, 3]);
});

test('the row of a gap is the same object, so that it stays', () => assert.equal(withGaps(rows(9, 7))[1], withGaps(rows(9, 7, 6))[1]));

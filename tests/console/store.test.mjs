import assert from 'node:assert/strict';
import test from 'node:test';

import { nothing } from '../../console/fold.js';
import { RECORDS_KEPT, Store } from '../../console/store.js';

const record = (seq, kind = 'space_low') => ({ seq, ts: '2026-05-01T12:00:00.000000Z', kind, actor: 'system' });

/** A store whose frames a test shows. */
function made() {
  const frames = [];
  const store = new Store((then) => frames.push(then));
  const show = () => frames.splice(0).forEach((then) => then());
  return { store, frames, show };
}

test('whoever subscribed is told once a frame, however much has changed', () => {
  const { store, frames, show } = made();
  let told = 0;
  const end = store.subscribe(() => (told += 1));
  for (let seq = 1; seq <= 50; seq += 1) store.add(record(seq));
  store.set({ connection: { status: 'live', heard: 1 } });
  assert.deepEqual([told, frames.length, store.records.length], [0, 1, 0]);
  show();
  assert.deepEqual([told, frames.length, store.records.length], [1, 0, 50]);
  assert.deepEqual([store.state.head.seq, store.state.space_low], [50, true]);
  end();
  store.changed();
  show();
  assert.equal(told, 1);
});

test('of the records the newest are kept, in their order, and all are folded', () => {
  const { store, frames, show } = made();
  const all = RECORDS_KEPT * 3;
  for (let seq = 1; seq <= all; seq += 1) store.add(record(seq, seq === 1 ? 'space_low' : 'login'));
  while (frames.length) show();
  assert.deepEqual([store.records.length, store.records[0].seq, store.records.at(-1).seq], [RECORDS_KEPT, all - RECORDS_KEPT + 1, all]);
  assert.deepEqual([store.state.head.seq, store.state.space_low], [all, true]);
});

test('a new beginning forgets what was on its way', () => {
  const { store, show } = made();
  store.add(record(1));
  store.begin(nothing('b'), [record(9, 'login')]);
  show();
  assert.deepEqual([store.state.head, store.records.map(({ seq }) => seq)], [{ seq: 0, ts: 0, log: 'b' }, [9]]);
});

test('a role may do what those below it may; nobody nothing', () => {
  const { store } = made();
  assert.ok(!store.may('viewer'));
  store.set({ who: { subject: 'olga', name: null, role: 'operator', login: true } });
  assert.deepEqual(['viewer', 'operator', 'approver', 'admin'].map((role) => store.may(role)), [true, true, false, false]);
});

test('a record that cannot be folded stops the fold, says so, and is shown all the same; a new beginning mends it', () => {
  const { store, show } = made();
  let told = 0;
  store.subscribe(() => (told += 1));
  store.add(record(1, 'paused'));
  store.add(record(2));
  show();
  store.add(record(3));
  show();
  assert.match(store.fault, /^Record 1 /);
  assert.deepEqual([store.state.space_low, store.records.length, told], [false, 3, 2]);
  store.begin(nothing(), []);
  store.add(record(4));
  show();
  assert.deepEqual([store.fault, store.state.space_low], [null, true]);
});

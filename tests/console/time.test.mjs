import assert from 'node:assert/strict';
import test from 'node:test';

import { clock, duration, local, seconds, utc } from '../../console/time.js';

test('a time of the log is the number that the service has', () => {
  assert.equal(seconds('2026-05-01T12:00:00.123456Z'), 1777636800.123456);
  assert.equal(seconds('2026-05-01T12:00:00.000001Z'), 1777636800.000001);
  assert.equal(seconds('2026-05-01T12:00:00Z'), 1777636800);
  assert.equal(seconds('1969-12-31T23:59:59.500000Z'), -0.5);
  assert.equal(seconds('2026-05-01T14:00:00+02:00'), 1777636800);
});

test('a day is named only when it is not today', () => {
  const noon = new Date(2026, 4, 1, 12, 3, 4).getTime() / 1000;
  assert.equal(clock(noon), '12:03:04');
  assert.equal(local(noon, noon + 60), '12:03:04');
  assert.equal(local(noon, noon + 86400), '2026-05-01 12:03:04');
  assert.equal(utc(1777636800.9), '2026-05-01T12:00:00Z');
});

test('lengths have their two largest units', () => {
  const told = [-1, 0, 59.4, 60, 61, 599, 700, 3600, 3661, 90_000, 200_000, 172_800].map(duration);
  assert.deepEqual(told, ['0 s', '0 s', '59 s', '1 min', '1 min 1 s', '9 min 59 s', '11 min', '1 h', '1 h 1 min', '25 h', '2 d 7 h', '2 d']);
});

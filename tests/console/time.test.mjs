import assert from 'node:assert/strict';
import test from 'node:test';

import { clock, duration, local, present, seconds, setClock, utc } from '../../console/time.js';

test('a time of the log is the number that the service has', () => {
  assert.equal(seconds('2026-05-01T12:00:00.123456Z'), 1777636800.123456);
  assert.equal(seconds('2026-05-01T12:00:00.000001Z'), 1777636800.000001);
  assert.equal(seconds('2026-05-01T12:00:00Z'), 1777636800);
  assert.equal(seconds('1969-12-31T23:59:59.500000Z'), -0.5);
  assert.equal(seconds('2026-05-01T14:00:00+02:00'), 1777636800);
});

test('the clock is set by answers that cannot have been written when this machine says', (context) => {
  const at = Date.UTC(2026, 4, 1, 12);
  context.mock.timers.enable({ apis: ['Date'], now: at + 400 });
  const ahead = (date, asked = at, answered = at + 400) => {
    setClock(date, asked, answered);
    return Math.round((present() - (at + 400) / 1000) * 10) / 10;
  };
  assert.equal(ahead('Fri, 01 May 2026 15:00:00 GMT'), 10_800.3);
  assert.equal(ahead(null), 10_800.3, 'one without a date tells nothing');
  assert.equal(ahead('yesterday'), 10_800.3);
  assert.equal(ahead('Fri, 01 May 2026 12:00:00 GMT'), 0, 'within its second');
  assert.equal(ahead('Fri, 01 May 2026 11:59:50 GMT'), -9.7);
  assert.equal(ahead('Fri, 01 May 2026 11:59:50 GMT', at - 20_000), 0, 'a slow answer may be from any time since it was asked for');
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

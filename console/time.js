// Times: the log's text, epoch seconds as the state has them, and what people read.

const WRITTEN = /^(.{19})(?:\.(\d+))?Z$/;

/** Epoch seconds of a record's time, the same number as the service's. @param {string} text RFC 3339, in UTC */
export function seconds(text) {
  const found = WRITTEN.exec(text);
  if (!found) return Date.parse(text) / 1000;
  const whole = Date.parse(`${found[1]}Z`) / 1000;
  const micros = Number((found[2] ?? '').padEnd(6, '0').slice(0, 6));
  // Both exact, so that the quotient is rounded once, as it is there.
  return (whole * 1e6 + micros) / 1e6;
}

/** How far the gateway's clock is ahead of this machine's, seconds. */
let ahead = 0;

/** Epoch seconds by the gateway's clock, whose times all others are: this machine's may be hours off. */
export const present = () => Date.now() / 1000 + ahead;

/**
 * Set the clock by an answer. @param {string | null} told its `Date`, to the second
 * @param {number} asked @param {number} answered when, by this machine's own clock, epoch milliseconds
 */
export function setClock(told, asked, answered) {
  const date = Date.parse(told ?? '');
  if (Number.isNaN(date)) return;
  // A second within which it may well have been written says nothing against our own clock.
  ahead = date + 1000 < asked || date > answered ? (date + 500 - (asked + answered) / 2) / 1000 : 0;
}

const pad = (/** @type {number} */ number) => String(number).padStart(2, '0');

/** Local time of day. @param {number} ts epoch seconds */
export function clock(ts) {
  const date = new Date(ts * 1000);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** Local time, with the day when that is not today's. @param {number} ts @param {number} now both epoch seconds */
export function local(ts, now) {
  const date = new Date(ts * 1000);
  const today = new Date(now * 1000).toDateString() === date.toDateString();
  return today ? clock(ts) : `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(ts)}`;
}

/** As in the log, to the second. @param {number} ts epoch seconds */
export const utc = (ts) => `${new Date(ts * 1000).toISOString().slice(0, 19)}Z`;

/** A length of time in its two largest units. @param {number} length seconds */
export function duration(length) {
  const left = Math.max(0, Math.round(length));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min${left % 60 && left < 600 ? ` ${left % 60} s` : ''}`;
  const hours = Math.floor(left / 3600);
  if (hours < 48) return `${hours} h${left % 3600 >= 60 ? ` ${Math.floor((left % 3600) / 60)} min` : ''}`;
  return `${Math.floor(hours / 24)} d${hours % 24 ? ` ${hours % 24} h` : ''}`;
}

/** Whether a pause or silence lasts at `now`. @param {number | null} until @param {number} now both epoch seconds */
export const lasts = (until, now) => until === null || now < until;

/** How far a machine's clock may have been set back before a start: what seems to be over may last. */
const CLOCK_SET_BACK = 86400;

/** Whether what ends at `until` is over for certain by a record of `ts`. @param {number | null} until @param {number} ts both epoch seconds */
export const longOver = (until, ts) => !lasts(until, ts - CLOCK_SET_BACK);

// Pictures of counts and times, as SVG. What is good goes up and what failed goes down: colour alone says nothing.

import { h, s } from './dom.js';
import { ceiling, marks, quantile } from './numbers.js';
import { duration, local, present, utc } from './time.js';

/** @import { Slot } from './numbers.js' */

/** @typedef {{field: 'alerts' | 'done' | 'failed' | 'dry' | 'healed' | 'unhealed', tone: string, name: string, down?: boolean}} Series */

const HEIGHT = 130;
const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;

/** @typedef {{width: number, slots: Slot[], covered: number}} Ground `covered`: from when on all was looked at, epoch seconds */

/** @param {Ground} ground */
function across({ width, slots }) {
  const [from, to] = [slots[0].from, slots[slots.length - 1].to];
  return (/** @type {number} */ ts) => LEFT + ((ts - from) / (to - from)) * (width - LEFT - RIGHT);
}

/** @param {string} title @param {string} summary @param {[string, string][]} legend tone and name @param {Ground} ground @param {SVGElement[]} parts */
function framed(title, summary, legend, ground, parts) {
  const x = across(ground);
  const { width, slots, covered } = ground;
  const every = Math.ceil(slots.length / Math.max(2, Math.floor((width - LEFT) / 110)));
  const times = slots.filter((_, index) => index % every === 0 && x(slots[index].from) < width - 60);
  const days = slots[slots.length - 1].to - slots[0].from > 2 * 86_400;
  const label = (/** @type {number} */ ts) => (days ? local(ts, 0).slice(5, 16) : local(ts, ts).slice(0, 5));
  const axis = times.flatMap(({ from }) => [
    s('line', { class: 'tick', x1: x(from), x2: x(from), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
    s('text', { x: x(from), y: HEIGHT - 4 }, label(from)),
  ]);
  const unknown = Math.min(Math.max(covered, slots[0].from), slots[slots.length - 1].to);
  const veil = unknown > slots[0].from && s('rect', { class: 'unknown', x: LEFT, y: TOP, width: x(unknown) - LEFT, height: HEIGHT - TOP - BOTTOM });
  const svg = s('svg', { class: 'chart', role: 'img', 'aria-label': `${title}: ${summary}`, viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT }, veil, parts, axis);
  const keys = legend.map(([tone, name]) => h('span', { class: `key ${tone}` }, name));
  return h('figure', {}, h('figcaption', {}, h('h3', {}, title), ...keys, h('span', { class: 'count' }, summary)), svg);
}

/** @param {number} y @param {number} width @param {string} text */
const line = (y, width, text) => [
  s('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
  s('text', { class: 'scale', x: LEFT - 6, y: y + 4 }, text),
];

/** Counts by time, as bars. @param {string} title @param {string} summary @param {Series[]} series @param {Ground} ground */
export function bars(title, summary, series, ground) {
  const { width, slots } = ground;
  const x = across(ground);
  const sum = (/** @type {Slot} */ slot, /** @type {boolean} */ down) => series.filter((one) => Boolean(one.down) === down).reduce((all, one) => all + slot[one.field], 0);
  const up = ceiling(Math.max(...slots.map((slot) => sum(slot, false))));
  const worst = Math.max(...slots.map((slot) => sum(slot, true)));
  const down = worst === 0 ? 0 : ceiling(worst);
  const scale = (HEIGHT - TOP - BOTTOM) / (up + down);
  const zero = TOP + up * scale;
  const drawn = slots.map((slot) => {
    const [left, right] = [x(slot.from) + 0.5, x(slot.to) - 0.5];
    const at = { up: zero, down: zero };
    const parts = series.filter(({ field }) => slot[field] > 0).map(({ field, tone, down: below }) => {
      const height = slot[field] * scale;
      const y = below ? at.down : at.up - height;
      if (below) at.down += height;
      else at.up -= height;
      return s('rect', { class: tone, x: left, y, width: Math.max(1, right - left), height });
    });
    const told = series.map(({ field, name }) => `${slot[field]} ${name}`).join(', ');
    return parts.length > 0 && s('g', {}, s('title', {}, `${local(slot.from, present())} (${utc(slot.from)}): ${told}`), parts);
  });
  const grid = [...line(TOP, width, String(up)), ...line(zero, width, '0'), ...(down ? line(zero + down * scale, width, String(down)) : [])];
  const legend = /** @type {[string, string][]} */ (series.map(({ tone, name }) => [tone, name]));
  return framed(title, summary, legend, ground, [...grid, s('g', {}, drawn)]);
}

/** Medians of times by time, as dots. @param {string} title @param {string} summary @param {Ground} ground */
export function dots(title, summary, ground) {
  const { width, slots } = ground;
  const x = across(ground);
  const found = slots.flatMap(({ from, to, sinceAlert, sinceAction }) => {
    const [alert, action] = [quantile(sinceAlert, 0.5), quantile(sinceAction, 0.5)];
    return alert === null && action === null ? [] : [{ from, at: x((from + to) / 2), alert, action }];
  });
  const times = found.flatMap(({ alert, action }) => [alert, action]).filter((time) => time !== null).map((time) => Math.max(time, 0.01));
  const scale = marks(times.length ? times : [1, 60]);
  const [low, high] = [Math.log(scale[0]), Math.log(scale[scale.length - 1])];
  const y = (/** @type {number} */ time) => TOP + ((high - Math.log(Math.max(time, scale[0]))) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const grid = scale.flatMap((mark) => line(y(mark), width, mark < 1 ? `${mark} s` : duration(mark)));
  const drawn = found.map(({ from, at, alert, action }) => {
    const told = [alert !== null && `${taken(alert)} since the alert`, action !== null && `${taken(action)} since the first action`];
    return s(
      'g',
      {},
      s('title', {}, `${local(from, present())} (${utc(from)}): ${told.filter(Boolean).join(', ')}`),
      alert !== null && s('circle', { class: 'other', cx: at, cy: y(alert), r: 4 }),
      action !== null && s('rect', { class: 'hollow', x: at - 4, y: y(action) - 4, width: 8, height: 8 }),
    );
  });
  return framed(title, summary, [['other round', 'since the alert'], ['hollow', 'since the first action']], ground, [...grid, s('g', {}, drawn)]);
}

/** A length of time that may be short. @param {number} time seconds */
export const taken = (time) => (time < 10 ? `${Math.round(time * 10) / 10} s` : duration(time));

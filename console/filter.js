// The filter of Live: by words, here in the page. Each key shows its effect at once, also while the gateway is away, and
// no second stream is needed, of which a browser allows a host only six. The log's own language is for all of the log.

/** @import { Entry } from './fold.js' */

/** @type {WeakMap<Entry, string>} */
const texts = new WeakMap();

/** @param {Entry} record */
function textOf(record) {
  let text = texts.get(record);
  if (text === undefined) {
    const { prev: _prev, hash: _hash, detail, ...rest } = record;
    // Words occur by chance in what no person reads, and plans have all the words of all steps.
    const { plan: _plan, data: _data, signature: _signature, ...told } = detail ?? {};
    text = JSON.stringify([rest, told]).toLowerCase();
    texts.set(record, text);
  }
  return text;
}

/**
 * Whether a record has all of the words, anywhere; a word with `-` before it is one that it must not have, and
 * `field=value` a field or label that is exactly so. @param {string} words @returns {(record: Entry) => boolean}
 */
export function matcher(words) {
  const tests = words.trim().split(/\s+/).filter(Boolean).map(one);
  return (record) => tests.every((test) => test(record));
}

/** @param {string} word @returns {(record: Entry) => boolean} */
function one(word) {
  if (word.length > 1 && word.startsWith('-')) {
    const not = one(word.slice(1));
    return (record) => !not(record);
  }
  const [, name, value] = /^([\w.]+)=(.+)$/.exec(word) ?? [];
  if (name !== undefined) {
    const label = name.replace(/^labels\./, '');
    const own = (/** @type {any} */ fields) => (fields && Object.hasOwn(fields, label) ? String(fields[label]) : null);
    return (record) => (own(record) ?? own(record.labels)) === value;
  }
  const text = word.toLowerCase();
  return (record) => textOf(record).includes(text);
}

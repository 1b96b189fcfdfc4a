// What fields have held: what is offered while somebody writes a filter.

import { KINDS, MODES, REASONS } from './query.js';

/** @import { Entry, Fields } from './fold.js' */

const FIXED = /** @type {Record<string, string[]>} */ ({ kind: KINDS, reason: REASONS, mode: MODES });

/** The path of a field, `labels."any name"` with its name as it is; null for none. @param {string} field @returns {string[] | null} */
export function path(field) {
  const [, group, rest] = /^(labels|annotations)\.(.+)$/s.exec(field) ?? [];
  if (group) return [group, unquoted(rest)];
  return field === '' ? null : [...field.matchAll(/"(?:[^"\\]|\\.)*"|[^."]+/g)].map(([name]) => unquoted(name));
}

/** @param {string} name */
function unquoted(name) {
  if (!name.startsWith('"')) return name;
  try {
    return String(JSON.parse(name));
  } catch {
    return name;
  }
}

/**
 * The values of a field in these records, each once; for a group (`labels.`) the names in it. @param {string} field
 * @param {Iterable<Entry | Fields>} records @param {string[]} [rules] names of rules in force
 */
export function seen(field, records, rules = []) {
  const found = new Set(Object.hasOwn(FIXED, field) ? FIXED[field] : field === 'rule' ? rules : []);
  const names = /^(labels|annotations|detail)\.$/.test(field);
  const way = path(names ? field.slice(0, -1) : field) ?? [];
  for (const record of records) {
    /** @type {any} */
    let value = record;
    for (const name of way) value = value && typeof value === 'object' && Object.hasOwn(value, name) ? value[name] : undefined;
    if (names) for (const name of Object.keys(value ?? {})) found.add(name);
    else if (['string', 'number', 'boolean'].includes(typeof value)) found.add(String(value));
  }
  return found;
}

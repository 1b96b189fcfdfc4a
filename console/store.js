// What the page knows: the state, the newest records, and how far the gateway is to be reached. Views read it and are
// told once a frame that it has changed.

import { fold, nothing } from './fold.js';

/** @import { Entry, Fields, State } from './fold.js' */

/** How many of the newest records are kept. */
export const RECORDS_KEPT = 2000;
/** How long one frame may fold; what is left is for the next. A record takes microseconds, so a chunk is far less. */
const FOLD_MS = 8;
const CHUNK = 100;
/** A page that is not seen gets no frames. */
const UNSEEN_MS = 1000;

/**
 * @typedef {'connecting' | 'live' | 'down'} Status
 * @typedef {object} Connection
 * @property {Status} status
 * @property {number | null} heard when the gateway last gave a sign of life, epoch seconds
 * @property {string} [why] of a break, in words
 */

export class Store {
  /** @type {State} */
  state = nothing();
  /** The newest records, oldest first. @type {Entry[]} */
  records = [];
  /** @type {Connection} */
  connection = { status: 'connecting', heard: null };
  /** `GET /`, as it was told last; null before. @type {Fields | null} */
  overview = null;
  /** The gateway's version when the page began: its modules are that one's. @type {string | null} */
  version = null;
  /** Why the page cannot fold the log any more, in words. @type {string | null} */
  fault = null;
  /** What went wrong in the page itself, in words. @type {string | null} */
  flaw = null;
  /** `GET /whoami`. @type {Fields} */
  who = { subject: '', name: null, role: null, login: false };
  /** Where else to look, from `GET /state`. @type {Fields} */
  links = { alertmanager: [] };

  /** @type {Set<() => void>} */
  #told = new Set();
  /** @type {Entry[]} */
  #coming = [];
  #asked = false;
  #frame;

  /** @param {(then: () => void) => void} [frame] calls `then` when something may be shown next */
  constructor(frame = nextFrame) {
    this.#frame = frame;
  }

  /** Whether the person may do what `role` may. @param {'viewer' | 'operator' | 'approver' | 'admin'} role */
  may(role) {
    const roles = ['viewer', 'operator', 'approver', 'admin'];
    return roles.indexOf(this.who.role) >= roles.indexOf(role);
  }

  /** Call `then` after changes, once a frame; the answer ends that. @param {() => void} then @returns {() => void} */
  subscribe(then) {
    this.#told.add(then);
    return () => this.#told.delete(then);
  }

  /** Begin anew. @param {State} state @param {Entry[]} records the newest up to its head, oldest first */
  begin(state, records) {
    this.state = state;
    this.records = records.slice(-RECORDS_KEPT);
    this.#coming = [];
    this.fault = null;
    this.changed();
  }

  /** One more record, the next by its seq. @param {Entry} record */
  add(record) {
    this.#coming.push(record);
    this.changed();
  }

  /** Set fields, and tell. @param {Partial<Pick<Store, 'connection' | 'overview' | 'who' | 'links'>>} fields */
  set(fields) {
    Object.assign(this, fields);
    this.version ??= this.overview?.version ?? null;
    this.changed();
  }

  /** Something has changed: tell in the next frame. */
  changed() {
    if (this.#asked) return;
    this.#asked = true;
    this.#frame(() => this.#show());
  }

  #show() {
    this.#asked = false;
    this.#take();
    if (this.#coming.length) this.changed();
    for (const then of this.#told) then();
  }

  #take() {
    if (this.#coming.length === 0) return;
    const until = performance.now() + FOLD_MS;
    let taken = 0;
    try {
      while (taken < this.#coming.length && this.fault === null && (taken === 0 || performance.now() < until)) {
        this.state = fold(this.state, this.#coming.slice(taken, taken + CHUNK));
        taken += CHUNK;
      }
    } catch (error) {
      // Nobody is to act on a state that is half right.
      this.fault = `Record ${this.#coming[taken].seq} or one soon after it: ${error}`;
    }
    if (this.fault !== null) taken = this.#coming.length;
    this.records = [...this.records, ...this.#coming.slice(0, taken)].slice(-RECORDS_KEPT);
    this.#coming = this.#coming.slice(taken);
  }
}

/** @param {() => void} then */
function nextFrame(then) {
  let due = true;
  const once = () => {
    if (due) then();
    due = false;
  };
  requestAnimationFrame(once);
  setTimeout(once, UNSEEN_MS);
}

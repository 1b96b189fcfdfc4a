// The records as they come, each once, in the order of their seqs, over every break.

import { read } from './fold.js';
import { RECORDS_KEPT } from './store.js';
import { WORLD } from './world.js';

/** @import { Store } from './store.js' */

/** How often the gateway is asked whether it lives; a stream's own heartbeat is not shown to scripts. */
const ASK_MS = 10_000;
const AGAIN_MS = [500, 1000, 2000, 5000, 10_000];
/** Records that are fetched to begin with. */
const FIRST = 200;
/** A stream that has not brought by then what the gateway says it has is dead, whatever it looks like. */
const BEHIND_MS = 3000;
/** How long a page goes on that nobody sees. A browser has six connections to a host, so a seventh tab would wait forever. */
const UNSEEN_MS = 60_000;

export class Stream {
  #store;
  #world;
  /** The seq of the last record that was given to the store. */
  #last = 0;
  #log = '';
  #tries = 0;
  /** Counts the lives of a connection: what belongs to an earlier one has no say any more. */
  #life = 0;
  /** @type {EventSource | null} */
  #source = null;
  /** Whether it waits to come again, and nothing is under way. */
  #waiting = false;
  #asked = 0;
  /** Counts how often the page came into sight or went out of it. */
  #seen = 0;

  /** @param {Store} store @param {typeof WORLD} [world] */
  constructor(store, world = WORLD) {
    this.#store = store;
    this.#world = world;
  }

  /** Fetch what there is, then follow; go on with both for as long as the page lives. */
  async start() {
    this.#watch();
    await this.#begin();
  }

  /** Look at once: somebody looks, the machine wakes up, or the network is back. */
  wake() {
    this.#seen += 1;
    if (this.#waiting) this.#again(0);
    else if (this.#source !== null) this.#ask();
  }

  /** Nobody sees the page: hang up, unless somebody does soon. */
  rest() {
    const seen = ++this.#seen;
    this.#world.after(() => {
      if (seen !== this.#seen) return;
      this.#close();
      this.#waiting = true;
      this.#store.set({ connection: { ...this.#store.connection, status: 'connecting' } });
    }, UNSEEN_MS);
  }

  /** Begin anew, from the gateway's own state. */
  async #begin() {
    const life = this.#close();
    try {
      const [who, told, about] = await Promise.all([this.#world.whoami(), this.#world.state(), this.#world.overview()]);
      const state = read(told);
      const records = await this.#world.newest(FIRST, state.head.seq + 1);
      if (life !== this.#life) return;
      this.#last = state.head.seq;
      this.#log = state.head.log;
      this.#store.set({ who, links: told.links, overview: about });
      this.#store.begin(state, records.reverse());
      this.#follow();
    } catch (error) {
      if (life === this.#life) this.#lost(error);
    }
  }

  #follow() {
    const life = this.#close();
    const source = this.#world.source(`/events?after=${this.#last}`);
    this.#source = source;
    source.onopen = () => life === this.#life && this.#live();
    source.onmessage = (event) => life === this.#life && this.#take(event);
    source.onerror = () => life === this.#life && this.#lost(null);
    // The log is not the one that we knew, or does not go back so far.
    source.addEventListener('reset', () => life === this.#life && this.#begin());
  }

  /** @param {MessageEvent} event */
  #take(event) {
    const record = JSON.parse(event.data);
    if (event.lastEventId.split(':')[0] !== this.#log) return void this.#begin();
    // Whoever is not logged in gets envelopes, which are no whole records.
    if (record.hash === undefined) return void this.#lost(new Error('The gateway shows strangers no whole records.'));
    if (record.seq <= this.#last) return undefined;
    if (record.seq > this.#last + 1) return void this.#fill(record.seq);
    this.#last = record.seq;
    this.#store.add(record);
    return this.#live();
  }

  /** Fetch what the stream has left out, and go on from there. @param {number} before */
  async #fill(before) {
    const life = this.#close();
    try {
      const missing = await this.#world.between(this.#last, before);
      if (life !== this.#life) return;
      // What the log itself has lost nobody can fold; the gateway's own state is right, and the view shows the gap.
      if (missing.length !== before - this.#last - 1) return void (await this.#begin());
      for (const record of missing) this.#store.add(record);
      this.#last = before - 1;
      this.#follow();
    } catch (error) {
      // Nothing after a gap is shown as if nothing were missing.
      if (life === this.#life) this.#lost(error);
    }
  }

  #live() {
    this.#tries = 0;
    const { status, heard } = this.#store.connection;
    const now = this.#world.now();
    if (status !== 'live' || heard === null || now - heard >= 1) this.#store.set({ connection: { status: 'live', heard: now } });
  }

  /** Nobody answers, or not as one should: come again. @param {unknown} error */
  #lost(error) {
    this.#close();
    const { heard } = this.#store.connection;
    // A first break may be a restart, over in a moment.
    const status = this.#tries === 0 && heard !== null ? 'connecting' : 'down';
    const why = error instanceof Error ? error.message : undefined;
    this.#store.set({ connection: { status, heard, ...(why && { why }) } });
    this.#again(AGAIN_MS[Math.min(this.#tries++, AGAIN_MS.length - 1)]);
  }

  /** @param {number} ms */
  #again(ms) {
    const life = this.#life;
    this.#waiting = true;
    this.#world.after(async () => {
      if (life !== this.#life || !this.#waiting) return;
      this.#waiting = false;
      if (this.#log === '') return void this.#begin();
      try {
        // The stream is public as well, with less in it: this sends whoever is logged in no more to the login.
        const [who, about] = await Promise.all([this.#world.whoami(), this.#world.overview()]);
        if (life !== this.#life) return;
        this.#store.set({ who, overview: about });
        // What is kept would be pushed out anyway.
        if (about.head - this.#last > RECORDS_KEPT) await this.#begin();
        else this.#follow();
      } catch (error) {
        if (life === this.#life) this.#lost(error);
      }
    }, ms);
  }

  /** Ask for a sign of life now and then, for as long as the page lives. */
  #watch() {
    this.#world.after(async () => {
      if (this.#source !== null) await this.#ask();
      this.#watch();
    }, ASK_MS);
  }

  async #ask() {
    const life = this.#life;
    const asked = ++this.#asked;
    let last = this.#last;
    try {
      const about = await this.#world.overview();
      if (life !== this.#life || asked !== this.#asked) return;
      this.#store.set({ overview: about });
      last = this.#last;
      if (about.head <= last) return this.#live();
      this.#world.after(() => {
        if (life === this.#life && last === this.#last) this.#lost(new Error('The stream stands still.'));
      }, BEHIND_MS);
    } catch (error) {
      // A gateway that is too busy to answer, but not to send, lives.
      if (life === this.#life && last === this.#last) this.#lost(error);
    }
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    this.#waiting = false;
    return ++this.#life;
  }
}

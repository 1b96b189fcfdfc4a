import assert from 'node:assert/strict';
import test from 'node:test';

import { Store } from '../../console/store.js';
import { Stream } from '../../console/stream.js';

const LOG = 'aaaaaaaaaaaaaaaa';
const record = (seq, more = {}) => ({ seq, ts: '2026-05-01T12:00:00.000000Z', kind: 'login', actor: 'ann', hash: 'h', ...more });

/** A gateway with a log of `head` records, and a page that follows it; the test owns the time and each answer. */
class World {
  head = 3;
  log = LOG;
  time = 1000;
  now = () => this.time;
  up = true;
  loggedIn = true;
  /** Seqs that nobody can read. */
  lost = new Set();
  sources = [];
  timers = [];
  asked = [];

  constructor() {
    this.store = new Store((then) => then());
    this.stream = new Stream(this.store, this);
  }

  #answer(what, value) {
    this.asked.push(what);
    return this.up ? Promise.resolve(value) : Promise.reject(new Error('The gateway does not answer.'));
  }

  state = () => this.#answer('state', { head: { seq: this.head, ts: 1, log: this.log }, links: { alertmanager: [] }, state: {} });
  overview = () => this.#answer('overview', { status: 'ok', head: this.head });
  newest = (n, before) => this.#answer('newest', this.#records(Math.max(0, before - 1 - n), before).reverse());
  between = (after, before) => this.#answer('between', this.#records(after, before));
  whoami = () => (this.loggedIn ? this.#answer('whoami', { subject: 'ann', role: 'viewer' }) : new Promise(() => {}));
  after = (then, ms) => void this.timers.push({ then, at: this.time + ms / 1000 });

  source = (url) => {
    const source = { url, closed: false, close: () => (source.closed = true), addEventListener: (type, then) => (source[type] = then) };
    this.sources.push(source);
    return source;
  };

  #records(after, before) {
    const seqs = Array.from({ length: Math.max(0, before - after - 1) }, (_, index) => after + 1 + index);
    return seqs.filter((seq) => !this.lost.has(seq)).map((seq) => record(seq));
  }

  get open() {
    return this.sources.filter(({ closed }) => !closed);
  }

  get seqs() {
    return this.store.records.map(({ seq }) => seq);
  }

  get status() {
    return this.store.connection.status;
  }

  /** The stream brings these. */
  send(...seqs) {
    const [source] = this.open;
    for (const seq of seqs) source.onmessage({ data: JSON.stringify(record(seq)), lastEventId: `${this.log}:${seq}` });
    return settled();
  }

  /** So many seconds go by. */
  async pass(length) {
    const end = this.time + length;
    for (;;) {
      const [next] = this.timers.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at);
      if (!next) break;
      this.timers.splice(this.timers.indexOf(next), 1);
      this.time = next.at;
      next.then();
      await settled();
    }
    this.time = end;
  }
}

/** All that is resolved has gone on. */
const settled = () => new Promise((then) => setImmediate(then));

async function following(changes = {}) {
  const world = Object.assign(new World(), changes);
  world.stream.start();
  await settled();
  world.open[0]?.onopen();
  return world;
}

test('it begins with the state and the newest records, and follows after its head', async () => {
  const world = await following();
  assert.deepEqual([world.seqs, world.open.map(({ url }) => url), world.status], [[1, 2, 3], ['/events?after=3'], 'live']);
  await world.send(4, 5);
  assert.deepEqual([world.seqs, world.store.state.head.seq], [[1, 2, 3, 4, 5], 5]);
});

test('a record that comes twice is taken once', async () => {
  const world = await following();
  await world.send(3, 4, 4, 2, 5);
  assert.deepEqual(world.seqs, [1, 2, 3, 4, 5]);
});

test('what a stream leaves out is fetched, in order, and what followed comes again', async () => {
  const world = await following();
  await world.send(7);
  assert.deepEqual([world.seqs, world.open.map(({ url }) => url)], [[1, 2, 3, 4, 5, 6], ['/events?after=6']]);
  await world.send(7, 8);
  assert.deepEqual(world.seqs, [1, 2, 3, 4, 5, 6, 7, 8]);
});

test('what cannot be fetched now is fetched later, and nothing is taken before', async () => {
  const world = await following();
  world.up = false;
  await world.send(7);
  assert.deepEqual([world.seqs, world.open.length], [[1, 2, 3], 0]);
  world.up = true;
  await world.pass(1);
  assert.deepEqual(world.open.map(({ url }) => url), ['/events?after=3']);
});

test('what the log itself has lost: the state is asked for anew, and the hole stays to be seen', async () => {
  const world = await following();
  Object.assign(world, { head: 8, lost: new Set([5]) });
  await world.send(7);
  assert.deepEqual([world.seqs, world.store.state.head.seq], [[1, 2, 3, 4, 6, 7, 8], 8]);
});

test('after a break it comes again where it was: connecting at first, down when that fails, with the last sign of life', async () => {
  const world = await following();
  world.time = 1100;
  world.up = false;
  world.open[0].onerror();
  assert.deepEqual([world.status, world.open.length], ['connecting', 0]);
  await world.pass(1);
  assert.deepEqual([world.status, world.store.connection.heard], ['down', 1000]);
  await world.pass(120);
  world.up = true;
  await world.pass(10);
  assert.deepEqual(world.open.map(({ url }) => url), ['/events?after=3']);
  world.open[0].onopen();
  assert.equal(world.status, 'live');
  await world.send(4);
  assert.deepEqual(world.seqs, [1, 2, 3, 4]);
});

test('a gateway that says nothing any more is down within half a minute', async () => {
  const world = await following();
  world.up = false;
  await world.pass(30);
  assert.equal(world.status, 'down');
});

test('a stream that stands still while the log grows is opened anew; one that moves is not', async () => {
  const world = await following();
  world.head = 9;
  await world.pass(11);
  await world.send(4);
  await world.pass(4);
  assert.equal(world.sources.length, 1);
  await world.pass(20);
  assert.deepEqual(world.open.map(({ url }) => url), ['/events?after=4']);
});

test('another log, or a place that it does not know: from the beginning', async () => {
  for (const begin of [(world) => world.open[0].reset(), (world) => world.send(4)]) {
    const world = await following();
    Object.assign(world, { log: 'bbbbbbbbbbbbbbbb', head: 4 });
    await begin(world);
    await settled();
    assert.deepEqual([world.store.state.head.log, world.seqs, world.open.map(({ url }) => url)], ['bbbbbbbbbbbbbbbb', [1, 2, 3, 4], ['/events?after=4']]);
  }
});

test('an envelope, which is all that strangers get, is never taken for a record', async () => {
  const world = await following();
  world.loggedIn = false;
  world.open[0].onmessage({ data: JSON.stringify(record(4, { hash: undefined })), lastEventId: `${LOG}:4` });
  await settled();
  assert.deepEqual([world.seqs, world.open.length], [[1, 2, 3], 0]);
});

test('whoever is logged in no more gets no stream after a break', async () => {
  const world = await following();
  world.loggedIn = false;
  world.open[0].onerror();
  await world.pass(60);
  assert.equal(world.open.length, 0);
});

test('a wake looks at once, and opens one stream however often it comes', async () => {
  const world = await following();
  world.up = false;
  world.open[0].onerror();
  await world.pass(60);
  world.up = true;
  world.stream.wake();
  world.stream.wake();
  await world.pass(0);
  await world.pass(60);
  assert.equal(world.open.length, 1);
  const before = world.asked.length;
  world.stream.wake();
  await settled();
  assert.equal(world.asked[before], 'overview');
});

test('a page that is opened while the gateway is away begins when it comes', async () => {
  const world = await following({ up: false });
  assert.deepEqual([world.status, world.open.length], ['down', 0]);
  world.up = true;
  await world.pass(1);
  assert.deepEqual([world.seqs, world.open.length], [[1, 2, 3], 1]);
});

test('a page that nobody sees for a while hangs up, and goes on where it was when somebody looks', async () => {
  const world = await following();
  world.stream.rest();
  await world.pass(30);
  assert.equal(world.open.length, 1);
  world.stream.wake();
  await world.pass(120);
  assert.equal(world.open.length, 1);
  world.stream.rest();
  await world.pass(3600);
  assert.deepEqual([world.open.length, world.status], [0, 'connecting']);
  world.head = 4;
  world.stream.wake();
  await world.pass(0);
  assert.deepEqual(world.open.map(({ url }) => url), ['/events?after=3']);
  await world.send(4);
  assert.deepEqual(world.seqs, [1, 2, 3, 4]);
});

test('whoever was away for very long begins anew, instead of taking everything in', async () => {
  const world = await following();
  world.up = false;
  world.open[0].onerror();
  await world.pass(3600);
  Object.assign(world, { up: true, head: 100_000 });
  await world.pass(10);
  assert.deepEqual([world.open.map(({ url }) => url), world.store.state.head.seq, world.seqs.length], [['/events?after=100000'], 100_000, 200]);
});

test('a page that comes into sight while it begins asks for nothing twice', async () => {
  const world = new World();
  world.stream.start();
  world.stream.wake();
  await world.pass(0);
  await settled();
  assert.deepEqual([world.asked.filter((what) => what === 'state').length, world.open.length], [1, 1]);
});

test('a gateway that does not answer in time but sends is alive', async () => {
  const world = await following();
  let refuse;
  world.overview = () => new Promise((_, no) => (refuse = no));
  await world.pass(11);
  await world.send(4);
  refuse(new Error('too late'));
  await settled();
  assert.deepEqual([world.status, world.open.length, world.sources.length], ['live', 1, 1]);
});

// What the stream asks of the world; tests bring their own.

import { between, get, newest, overview } from './api.js';
import { present } from './time.js';

/** How long the gateway may take to say that it lives. */
const PATIENCE_MS = 5000;

export const WORLD = {
  between,
  newest,
  overview: () => overview(PATIENCE_MS),
  state: () => get('/state'),
  whoami: () => get('/whoami'),
  /** @param {string} url @returns {EventSource} */
  source: (url) => new EventSource(url),
  /** @param {() => void} then @param {number} ms */
  after: (then, ms) => void setTimeout(then, ms),
  /** Epoch seconds. */
  now: present,
};

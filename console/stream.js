// The stream of records, without a gap over every break.

import { whoami } from './api.js';

const AGAIN_MS = 3000;

/**
 * Follow the log from after `seq` on.
 *
 * @param {number} seq
 * @param {{record: (record: object) => void, reset: () => void, state: (state: 'live' | 'waiting' | 'lost') => void}} tell
 */
export function follow(seq, tell) {
  let last = seq;
  let broken = false;
  const source = new EventSource(`/events?after=${last}`);

  source.onopen = () => {
    tell.state('live');
    // The stream is public as well, with less in it: only this tells whether we are still who we were.
    if (broken) whoami().catch(() => {});
    broken = false;
  };
  source.onmessage = (event) => {
    const record = JSON.parse(event.data);
    last = record.seq;
    tell.record(record);
  };
  // The log is not the one that we knew.
  source.addEventListener('reset', () => {
    source.close();
    tell.reset();
  });
  source.onerror = () => {
    broken = true;
    if (source.readyState !== EventSource.CLOSED) {
      tell.state('waiting');
      return;
    }
    // Refused, and the browser will not try again by itself: the session may have ended.
    tell.state('lost');
    setTimeout(() => {
      whoami().then(() => follow(last, tell), () => source.onerror?.(new Event('error')));
    }, AGAIN_MS);
  };
}

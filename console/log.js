// The table of records. All of it is text: a label may hold anything, and none of it becomes markup.

const MOST_ROWS = 500;

const TONES = {
  good: ['action_ok', 'heal_confirmed', 'alert_resolved', 'space_ok'],
  bad: ['action_fail', 'heal_failed', 'escalated', 'auth_failed', 'log_repaired', 'config_rejected', 'approval_expired'],
  odd: ['action_interrupted', 'heal_inconclusive', 'alert_suspect', 'alert_rejected', 'space_low', 'paused', 'approval_requested'],
};

const toneOf = (kind) => Object.keys(TONES).find((tone) => TONES[tone].includes(kind)) ?? '';

function row(record) {
  const line = document.createElement('tr');
  line.dataset.seq = record.seq;
  line.dataset.tone = toneOf(record.kind);
  const time = document.createElement('time');
  time.dateTime = record.ts;
  time.title = record.ts;
  time.textContent = new Date(record.ts).toLocaleString();
  line.insertCell().append(time);
  for (const field of ['kind', 'alertname', 'rule', 'target', 'reason', 'actor']) {
    line.insertCell().textContent = record[field] ?? '';
  }
  return line;
}

/** The table in `body`; records that come in a burst are shown together, once a frame. */
export class Log {
  #body;
  #coming = [];

  /** @param {HTMLTableSectionElement} body */
  constructor(body) {
    this.#body = body;
  }

  /** Show these records instead of what was shown. @param {object[]} records newest first */
  replace(records) {
    this.#coming = [];
    this.#body.replaceChildren(...records.map(row));
  }

  /** Show one more. @param {object} record */
  add(record) {
    if (this.#coming.push(record) === 1) requestAnimationFrame(() => this.#show());
  }

  #show() {
    const rows = this.#coming.slice(-MOST_ROWS).map(row).reverse();
    this.#coming = [];
    this.#body.prepend(...rows);
    while (this.#body.rows.length > MOST_ROWS) this.#body.deleteRow(-1);
  }
}

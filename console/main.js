import { logOut, newest, whoami } from './api.js';
import { Log } from './log.js';
import { follow } from './stream.js';

const SHOWN_AT_FIRST = 100;
const AGAIN_MS = 3000;
const WORDS = { live: 'live', waiting: 'connecting', lost: 'not connected' };

const connection = document.getElementById('connection');
const logout = document.getElementById('logout');
const log = new Log(document.getElementById('records'));

function show(state) {
  connection.dataset.state = state;
  connection.textContent = WORDS[state];
}

async function begin() {
  show('waiting');
  try {
    const [who, records] = await Promise.all([whoami(), newest(SHOWN_AT_FIRST)]);
    document.getElementById('who').textContent = `${who.name ?? who.subject} (${who.role})`;
    logout.hidden = !who.login;
    log.replace(records);
    follow(records[0]?.seq ?? 0, { record: (record) => log.add(record), reset: begin, state: show });
  } catch (error) {
    console.error(error);
    show('lost');
    setTimeout(begin, AGAIN_MS);
  }
}

logout.addEventListener('click', () => {
  logout.disabled = true;
  logOut().catch((error) => {
    console.error(error);
    logout.disabled = false;
  });
});

begin();

// The page: what is always there, and the view that its address names.

import { logOut } from './api.js';
import { announce, h, on, put, say } from './dom.js';
import { startKeys } from './keys.js';
import { outdated, startNotices } from './notices.js';
import { pauseDialog } from './pause.js';
import { ROUTES, address, parse } from './routes.js';
import { Store } from './store.js';
import { Stream } from './stream.js';
import { themeSwitch } from './theme.js';
import { clock, local, present, seconds, utc } from './time.js';

/** @import { Shown } from './routes.js' */

const at = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const store = new Store();
const stream = new Stream(store);
const main = at('view');
/** @type {Shown} */
let shown = { update() {}, close() {} };

function showView() {
  const { route, params } = parse(location.hash);
  shown.close();
  document.title = `${route.view.title} · autoheal`;
  for (const link of at('nav').querySelectorAll('a')) {
    if (link.dataset.name === route.name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  put(main);
  shown = { update() {}, close() {} };
  shown = route.view.render(main, store, params);
  shown.update();
}

function showShell() {
  const { status, heard } = store.connection;
  const connection = at('connection');
  if (connection.dataset.status !== status) announce(`Connection: ${status}`);
  connection.dataset.status = status;
  const now = present();
  say(connection, status === 'down' && heard !== null ? `down since ${local(heard, now)}` : status);
  connection.title = heard === null ? '' : `Last sign of life at ${clock(heard)}, ${utc(heard)}`;
  const { who } = store;
  say(at('who'), who.role === null ? '' : `${who.name ?? who.subject} (${who.role})`);
  at('logout').hidden = !who.login;
  at('pause').hidden = !store.may('operator');
  for (const { name, view } of ROUTES) {
    const badge = view.count && at('nav').querySelector(`[data-name=${name}] .badge`);
    if (badge) say(badge, String(view.count?.(store) || ''));
  }
}

function startNavigation() {
  const links = ROUTES.filter(({ nav }) => nav !== false).map(({ name, view }, index) =>
    h('a', { href: address(name), 'data-name': name, 'aria-keyshortcuts': index + 1 }, view.title, view.count && [' ', h('b', { class: 'badge' })]),
  );
  put(at('nav'), links);
  addEventListener('hashchange', () => {
    // Views that come now would be another version's than the rest.
    if (store.connection.status === 'live' && outdated(store)) return location.reload();
    showView();
    // Whoever reads with their ears is to be where the new view begins, and whoever sees at the notices above it.
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  on(document, 'click', '#skip', (_, event) => {
    event.preventDefault();
    main.focus();
  });
}

function startButtons() {
  themeSwitch(at('theme'));
  startKeys(at('keys'));
  at('pause').addEventListener('click', () => pauseDialog());
  at('logout').addEventListener('click', ({ currentTarget }) => {
    const button = /** @type {HTMLButtonElement} */ (currentTarget);
    button.disabled = true;
    logOut().catch((error) => {
      announce(error.message);
      button.disabled = false;
    });
  });
}

let day = '';

/** Times of a day that is over are to say which it was. */
function turnDay() {
  const now = present();
  const today = new Date(now * 1000).toDateString();
  if (day !== '' && day !== today) for (const one of document.querySelectorAll('time')) say(one, local(seconds(one.dateTime), now));
  day = today;
}

/** After a login: go on where somebody was before it, or wanted to be. */
function returnToPlace() {
  try {
    const place = sessionStorage.getItem('autoheal.place') ?? '';
    sessionStorage.removeItem('autoheal.place');
    if (place.startsWith('#/') && location.hash === '') history.replaceState(null, '', place);
  } catch {
    // A browser that keeps nothing.
  }
}

// A view that broke off looks as if it were live.
for (const type of ['error', 'unhandledrejection']) {
  addEventListener(type, (event) => {
    const { error, reason } = /** @type {any} */ (event);
    store.flaw ??= error || reason ? String(error ?? reason) : null;
  });
}
returnToPlace();
startNavigation();
startButtons();
showView();
startNotices(at('notices'), store);
store.subscribe(showShell);
store.subscribe(() => shown.update());
// Ages and countdowns go on when nothing else does, and a day ends.
setInterval(() => store.changed(), 1000);
store.subscribe(turnDay);
for (const type of ['online', 'pageshow', 'focus']) addEventListener(type, () => stream.wake());
document.addEventListener('visibilitychange', () => (document.hidden ? stream.rest() : stream.wake()));
stream.start();

// Elements without markup: all that is ever shown is text, whatever a label says.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | number | null | undefined | false} Child what is shown; nothing for null and false */

/**
 * An element. Attributes are set by name; true is an empty one, and null, undefined or false none. There are no handlers
 * here: `on` listens at a root.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * The same for SVG. @param {string} tag @param {Record<string, string | number | boolean | null | undefined>} [attributes]
 * @param {...(Child | Child[])} children
 */
export function s(tag, attributes = {}, ...children) {
  return /** @type {SVGElement} */ (fill(document.createElementNS(SVG, tag), attributes, children));
}

/**
 * @template {Element} E
 * @param {E} element @param {Record<string, string | number | boolean | null | undefined>} attributes
 * @param {(Child | Child[])[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    // Addresses come from data as well: one that runs a script is shown as none.
    if (name === 'href' && !safe(String(value))) continue;
    if (name.startsWith('on') || name === 'style') throw new Error(`${name} is not set here`);
    element.setAttribute(name, value === true ? '' : String(value));
  }
  put(element, ...children);
  return element;
}

/** Whether a link may lead there: the web, or this page. @param {string} url */
export function safe(url) {
  return url.startsWith('#') || (URL.canParse(url, location.href) && /^https?:$/.test(new URL(url, location.href).protocol));
}

/** What turns the direction of text, so that it reads as what it is not (CVE-2021-42574): shown, not obeyed. */
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;

/** @param {unknown} text */
const plain = (text) => String(text).replace(TURNS, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`);

/** Show these instead of what is there. @param {Element} element @param {...(Child | Child[])} children */
export function put(element, ...children) {
  const shown = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.replaceChildren(...shown.map((child) => (child instanceof Node ? child : plain(child))));
}

/** Set the text, when it is another: what is read aloud is then only what is new. @param {Element} element @param {string} text */
export function say(element, text) {
  const shown = plain(text);
  if (element.textContent !== shown) element.textContent = shown;
}

/** Have it read aloud, once. @param {string} text */
export function announce(text) {
  put(/** @type {Element} */ (document.getElementById('said')), text);
}

/**
 * Listen at `root` for `type` on whatever matches `selector` in it. Takes part in the capturing phase, so that events
 * that do not bubble (toggle) arrive too. @param {EventTarget} root @param {string} type @param {string} selector
 * @param {(element: HTMLElement, event: Event) => void} then @param {AddEventListenerOptions} [options]
 */
export function on(root, type, selector, then, options) {
  const listen = (/** @type {Event} */ event) => {
    const found = event.target instanceof Element ? event.target.closest(selector) : null;
    if (found instanceof HTMLElement) then(found, event);
  };
  root.addEventListener(type, listen, { capture: true, ...options });
}

/**
 * Make the children of `parent` those of `items`, in their order; one that was there with the same key is kept, and made
 * anew only when its item is another object. Focus and what is unfolded stay.
 *
 * @template I
 * @param {Element} parent @param {I[]} items @param {(item: I) => string} key @param {(item: I) => Element} make
 */
export function list(parent, items, key, make) {
  const known = shown.get(parent) ?? new Map();
  const focused = parent.contains(document.activeElement);
  const next = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const old = known.get(name);
    const element = old?.item === item ? old.element : make(item);
    if (old && old.element !== element) {
      if (place === old.element) place = element;
      old.element.replaceWith(element);
    }
    known.delete(name);
    next.set(name, { item, element });
    if (element === place) place = place?.nextElementSibling ?? null;
    else parent.insertBefore(element, place);
  }
  for (const { element } of known.values()) element.remove();
  shown.set(parent, next);
  // Whoever answers by keys goes on in the view, not at the page's beginning.
  if (focused && document.activeElement === document.body) document.getElementById('view')?.focus({ preventScroll: true });
}

/** @type {WeakMap<Element, Map<string, {item: unknown, element: Element}>>} */
const shown = new WeakMap();

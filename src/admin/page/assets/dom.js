// Small helpers for the document. Text is always a text node: nothing that the proxy sends can become markup.

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * The element with this id.
 * @template {Element} [T=HTMLElement]
 * @param {string} id @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return /** @type {T} */ (/** @type {unknown} */ (found));
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, string>} [attributes] @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter(isShown).map(toText));
  return made;
}

/**
 * @param {string} tag @param {Record<string, string | number>} [attributes] @param {Child[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children.filter(isShown).map(toText));
  return made;
}

/** Changes a text only if it differs, so that nothing is laid out again. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {string} name @param {string} value */
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** @param {string} id @param {boolean} isShown */
export function show(id, isShown) {
  if (byId(id).hidden === isShown) byId(id).hidden = !isShown;
}

/**
 * Calls `draw` only if `value` has changed. `now` alone draws nothing: `tick` keeps the relative times.
 * @template T
 * @param {(value: T, now: number) => void} draw
 */
export function onChange(draw) {
  let last = '';
  return (/** @type {T} */ value, now = 0) => {
    const text = JSON.stringify(value);
    if (text === last) return;
    last = text;
    draw(value, now);
  };
}

/** @param {Child} child @returns {child is Node | string | number} */
function isShown(child) {
  return child !== null && child !== undefined && child !== false;
}

/** @param {Node | string | number} child */
function toText(child) {
  return typeof child === 'number' ? String(child) : child;
}

// The refreshes, the problems and the details.

import { json } from './api.js';
import { byId, el, onChange, svg } from './dom.js';
import { ago, mark } from './parts.js';
import { percent } from './scale.js';
import { clock, date, took } from './time.js';
import { OUTCOMES } from './words.js';

/** @typedef {import('../types.d.ts').Page} Page */
/** @typedef {import('../types.d.ts').Refresh} Refresh */
/** @typedef {import('../types.d.ts').Problem} Problem */
/** @typedef {import('../types.d.ts').Setting} Setting */

const TRIGGERS = { startup: 'at the start', scheduled: 'scheduled', rejected: 'after a refusal', manual: 'by a person', peer: 'by another replica' };
const SHOWN = 5;

/** @param {Refresh} refresh */
function outcome({ outcome }) {
  return OUTCOMES[outcome] ?? { tone: 'unknown', word: outcome };
}

export const drawRefreshes = onChange((/** @type {Pick<Page, 'refreshes' | 'status' | 'store'>} */ { refreshes, status, store }, now) => {
  const place = byId('refreshes-body');
  if (status.grant === 'static') return place.replaceChildren(el('p', {}, 'The proxy never refreshes a static token.'));
  const newest = [...refreshes].reverse();
  place.replaceChildren(
    ...(store.shared ? [lease(store, now)] : []),
    ...(newest.length === 0
      ? [el('p', {}, 'No refresh yet', ...(status.refresh_at ? [': the next one is due ', ago(status.refresh_at, now)] : []), '.')]
      : [timeline(refreshes, now), table(newest.slice(0, SHOWN), now)]),
    ...(newest.length > SHOWN
      ? [el('details', {}, el('summary', {}, `${newest.length - SHOWN} earlier`), table(newest.slice(SHOWN), now))]
      : []),
  );
});

/** @param {Page['store']} store @param {number} now */
function lease(store, now) {
  const name = (/** @type {string} */ who) => (who === store.this ? `${who} (this process)` : who);
  const holder = store.holder === null ? 'Nobody holds the lease now' : `${name(store.holder)} holds the lease`;
  return el('p', {}, holder, ...(store.holder !== null && store.held_until ? [', which ends ', ago(store.held_until, now)] : []), '.',
    store.refreshed_by && ` The last refresh was made by ${name(store.refreshed_by)}.`);
}

/** @param {Refresh[]} refreshes oldest first @param {number} now */
function timeline(refreshes, now) {
  const from = Math.min(Date.parse(refreshes[0]?.at ?? ''), now - 60_000);
  const line = svg('svg', { class: 'timeline', 'aria-hidden': 'true' }, svg('line', { x1: 0, x2: '100%', y1: 12, y2: 12 }));
  for (const refresh of refreshes) {
    const { tone, word } = outcome(refresh);
    const shape = mark(tone);
    // From 1 % to 98 %, so that no mark is cut.
    shape.setAttribute('x', `${(1 + percent(Date.parse(refresh.at), from, now) * 0.97).toFixed(2)}%`);
    for (const [name, value] of Object.entries({ y: 6, width: 12, height: 12 })) shape.setAttribute(name, String(value));
    shape.append(svg('title', {}, `${word}, ${clock(Date.parse(refresh.at), now)}`));
    line.append(shape);
  }
  const start = now - from < 86_400_000 ? clock(from, now) : date(from);
  return el('div', { 'aria-hidden': 'true' }, line, el('p', { class: 'axis' }, el('span', {}, start), el('span', { class: 'end' }, 'now')));
}

/** @param {Refresh[]} refreshes newest first @param {number} now */
function table(refreshes, now) {
  const head = ['When', 'Outcome', 'Took'].map((name) => el('th', { scope: 'col' }, name));
  const rows = refreshes.map((refresh) => {
    const { tone, word } = outcome(refresh);
    return el('tr', {},
      el('td', {}, ago(refresh.at, now), el('small', {}, TRIGGERS[/** @type {keyof typeof TRIGGERS} */ (refresh.trigger)] ?? refresh.trigger)),
      el('td', {}, mark(tone), ` ${word}`, refresh.error && el('small', {}, refresh.error)),
      el('td', { class: 'number' }, took(refresh.duration_ms)));
  });
  return el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...rows));
}

export const drawProblems = onChange((/** @type {Problem[]} */ problems, now) => {
  byId('problems-count').textContent = problems.length > 0 ? `(${problems.length})` : '';
  byId('problems-body').replaceChildren(
    problems.length === 0
      ? el('p', {}, 'None since the proxy started.')
      : el('ul', {}, ...problems.slice(0, SHOWN).map((problem) => row(problem, now))),
    ...(problems.length > SHOWN
      ? [el('details', {}, el('summary', {}, `${problems.length - SHOWN} earlier`), el('ul', {}, ...problems.slice(SHOWN).map((problem) => row(problem, now))))]
      : []),
    ...(problems.some(({ id, doc }) => id && !isWeb(doc)) ? [el('p', {}, el('code', {}, 'bearer-proxy check'), ' says how to fix each of them.')] : []));
});

/** @param {string | null} doc */
function isWeb(doc) {
  return doc?.startsWith('https://') ?? false;
}

/** @param {Problem} problem @param {number} now */
function row({ id, level, message, first_at, last_at, count, doc }, now) {
  const name = id && doc && isWeb(doc) ? el('a', { href: doc, target: '_blank', rel: 'noopener noreferrer' }, id) : id;
  return el('li', {},
    mark(level === 'error' ? 'failing' : 'waiting'),
    el('div', {}, el('span', { class: 'sr' }, `${level === 'error' ? 'Error' : 'Warning'}: `), message,
      el('small', {}, ago(last_at, now), ...(count > 1 ? [` · ${count} times, first `, ago(first_at, now)] : []), ...(name ? [' · ', name] : []))));
}

export const drawFacts = onChange((/** @type {Page} */ { status, store, upstream, listen, login }) => {
  const facts = {
    Upstream: upstream,
    'Listens at': listen ?? '',
    Grant: status.grant,
    Profile: status.profile,
    Generation: String(status.generation),
    Store: store.shared ? `${store.kind}, shared` : store.kind,
    'This process': store.shared ? store.this : '',
    'Redirect URI': login.redirect_uri ?? '',
    Version: status.version,
  };
  byId('facts').replaceChildren(...Object.entries(facts).flatMap(([name, value]) => (value ? [el('div', {}, el('dt', {}, name), el('dd', {}, value))] : [])));
});

byId('details').addEventListener('toggle', async () => {
  /** @type {HTMLDetailsElement} */
  const details = byId('details');
  if (!details.open) return;
  const place = byId('config');
  try {
    /** @type {Setting[]} */
    const settings = await json('/config');
    const head = ['Key', 'Value', 'Source'].map((name) => el('th', { scope: 'col' }, name));
    const rows = settings.map(({ key, value, source }) =>
      el('tr', {}, el('th', { scope: 'row' }, key), el('td', {}, typeof value === 'string' ? value : JSON.stringify(value)), el('td', {}, source)));
    place.replaceChildren(el('h3', {}, 'Configuration'), el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...rows)));
  } catch (error) {
    place.replaceChildren(el('p', {}, error instanceof Error ? error.message : String(error)));
  }
});

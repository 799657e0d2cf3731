// Puts the state, the lifetime and the figures on the page.

import { drawCharts } from './charts.js';
import { byId, el, onChange, setAttribute, setText, show, svg } from './dom.js';
import { drawFacts, drawProblems, drawRefreshes } from './lists.js';
import { ago, mark } from './parts.js';
import { percent } from './scale.js';
import { clock, date, parse } from './time.js';
import { SHAPES, connection, describe } from './words.js';

/** @typedef {import('../types.d.ts').Page} Page */
/** @typedef {import('../types.d.ts').Sample} Sample */
/** @typedef {import('../types.d.ts').Link} Link */
/** @typedef {import('../types.d.ts').Tone} Tone */
/** @typedef {import('../types.d.ts').Words} Words */

const drawTone = onChange((/** @type {Tone} */ tone) => {
  document.body.dataset.tone = tone;
  byId('shape').replaceChildren(mark(tone));
});

/** The state that was announced last. */
let announced = '';

/**
 * Shows the first lines. Returns whether the figures are current.
 * @param {{page: Page | null, link: Link, heard: number | null, now: number, offset: number, isDraining: boolean}} seen
 */
export function showState({ page, link, heard, now, offset, isDraining }) {
  const trouble = connection(link, heard, now, isDraining);
  const words = trouble ?? describe(/** @type {Page} */ (page), now + offset);
  drawTone(words.tone);
  setText(byId('word'), words.word);
  setText(byId('line'), words.line);
  setText(byId('todo'), words.todo);
  // Only a new state is announced. A time that runs down is not.
  if (announced !== words.word + words.fix) {
    announced = words.word + words.fix;
    setText(byId('announce'), `${words.word}. ${words.todo}`);
  }
  const host = page ? new URL(page.upstream).host : '';
  const title = `${SHAPES[words.tone]} ${words.word}${host ? ` · ${host}` : ''} · bearer-proxy`;
  if (document.title !== title) document.title = title;
  setText(byId('identity'), page ? `${host} · ${page.status.profile} · generation ${page.status.generation}` : 'bearer-proxy');
  showFix(words, page, trouble === null);
  const asOf = trouble && heard !== null ? `from ${clock(heard, now)}` : '';
  for (const place of document.querySelectorAll('.as-of')) setText(place, asOf);
  // Charts that are not current do not end now.
  const end = trouble && heard !== null ? clock(heard, now) : 'now';
  if (page) showLifetime(page.status, (trouble && heard !== null ? heard : now) + offset);
  else show('lifetime', false);
  for (const place of document.querySelectorAll('.end')) setText(place, end);
  return trouble === null;
}

/** @param {Words} words @param {Page | null} page @param {boolean} isCurrent */
function showFix({ fix }, page, isCurrent) {
  show('key-form', fix === 'key');
  show('actions', page !== null);
  const login = page?.login;
  show('login', login?.offered === true);
  // The fix comes first, also for the keyboard.
  const place = fix === 'login' ? byId('refresh') : byId('drain');
  if (place.previousElementSibling !== byId('login')) byId('actions').insertBefore(byId('login'), place);
  show('refresh', page?.status.grant !== 'static');
  for (const name of ['login', 'refresh', 'drain']) {
    byId(name).classList.toggle('primary', fix === name);
    const isOff = !isCurrent || page?.status.draining === true;
    if (byId(name).dataset.busy === undefined) setAttribute(byId(name), 'aria-disabled', String(isOff));
  }
  show('command', fix === 'login' && login?.offered === false);
  setText(byId('command-text'), login?.command ?? '');
}

/** @param {Page['status']} status @param {number} now */
function showLifetime({ obtained_at, expires_at, refresh_at, grant, state }, now) {
  const [from, to, next] = [parse(obtained_at), parse(expires_at), parse(refresh_at)];
  show('lifetime', from !== null);
  if (from === null) return;
  const passed = to === null ? 0 : Math.round(percent(now, from, to) * 2) / 2;
  drawLifetime({ from, to, next, passed, isRefreshed: grant !== 'static' && state !== 'needs_login', isOver: to !== null && to <= now, isDue: next !== null && next <= now }, now);
}

const drawLifetime = onChange((/** @type {{from: number, to: number | null, next: number | null, passed: number, isRefreshed: boolean, isOver: boolean, isDue: boolean}} */ life, now) => {
  const { from, to, next, passed, isRefreshed, isOver, isDue } = life;
  /** @param {string} name @param {number | null} at @param {string} otherwise */
  const label = (name, at, otherwise) =>
    el('div', {}, el('dt', {}, name), el('dd', {}, at === null ? otherwise : when(at, now), at !== null && el('small', {}, ago(new Date(at).toISOString(), now))));
  const labels = el('dl', { class: isRefreshed ? 'three' : 'two' },
    label('Obtained', from, ''),
    isRefreshed && label(isDue ? 'Refresh due' : 'Next refresh', next, 'when the API refuses it'),
    label(isOver ? 'Expired' : 'Expires', to, 'not known'));
  const due = next === null || to === null ? null : percent(next, from, to);
  byId('lifetime').replaceChildren(...(to === null ? [] : [bar(passed, due)]), labels);
});

/** @param {number} at @param {number} now */
function when(at, now) {
  return Math.abs(at - now) < 86_400_000 ? clock(at, now) : date(at);
}

/** The lifetime: what has passed, now, and the next refresh. @param {number} passed @param {number | null} due both percentages */
function bar(passed, due) {
  const at = `${passed}%`;
  const drawn = svg('svg', { class: 'bar', role: 'img', 'aria-label': `${Math.round(passed)} percent of the token's lifetime have passed` },
    svg('rect', { class: 'whole', x: 0, y: 20, width: '100%', height: 8, rx: 4 }),
    svg('rect', { class: 'passed', x: 0, y: 20, width: at, height: 8, rx: 4 }),
    svg('line', { class: 'now', x1: at, x2: at, y1: 16, y2: 32 }),
    svg('text', { class: 'end', x: at, y: 12, 'text-anchor': anchor(passed) }, 'now'));
  if (due !== null) {
    drawn.append(
      svg('line', { class: 'next', x1: `${due}%`, x2: `${due}%`, y1: 16, y2: 32 }),
      svg('text', { x: `${due}%`, y: 47, 'text-anchor': anchor(due) }, 'refresh'));
  }
  return drawn;
}

/** Keeps a label inside. @param {number} percent */
function anchor(percent) {
  return percent < 10 ? 'start' : percent > 90 ? 'end' : 'middle';
}

/** @param {Page} page @param {Sample[]} samples @param {number} now */
export function showFigures(page, samples, now) {
  drawCharts({ samples, interval: page.interval_ms, listen: page.listen ?? null, upstream: page.upstream });
  drawRefreshes({ refreshes: page.refreshes, status: page.status, store: page.store }, now);
  drawProblems(page.problems, now);
  drawFacts(page, now);
}

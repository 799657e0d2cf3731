// The three charts of the last hour, each with a table for screen readers.

import { byId, el, onChange, svg } from './dom.js';
import { barPath, ceiling, columns, linePath, short } from './scale.js';
import { clock, span } from './time.js';

/** @typedef {import('../types.d.ts').Sample} Sample */
/** @typedef {import('./scale.js').Minute} Minute */
/** @typedef {{name: string, kind: string, value: (minute: Minute) => number | null}} Layer */

const MINUTE = 60_000;
/** The rows of a table are wider than the columns of its chart: a screen reader reads all of them. */
const ROW = 5 * MINUTE;

/** @type {Layer[]} */
const REQUESTS = [
  { name: '2xx, 3xx', kind: 'ok', value: ({ requests, seconds }) => requests.ok / seconds },
  { name: '4xx', kind: 'client', value: ({ requests, seconds }) => requests.client / seconds },
  { name: '5xx, proxy', kind: 'failed', value: ({ requests, seconds }) => requests.failed / seconds },
];
/** @type {Layer[]} */
const LATENCY = [
  { name: 'p50', kind: 'p50', value: ({ p50 }) => p50 },
  { name: 'p95', kind: 'p95', value: ({ p95 }) => p95 },
  { name: 'p99', kind: 'p99', value: ({ p99 }) => p99 },
];
/** @type {Layer[]} */
const TROUBLE = [
  { name: 'refused', kind: 'failed', value: ({ refused }) => refused },
  { name: 'replayed', kind: 'client', value: ({ replays }) => replays },
  { name: 'waited', kind: 'ok', value: ({ waits }) => waits },
];

export const drawCharts = onChange((/** @type {{samples: Sample[], interval: number, listen: string | null, upstream: string}} */ { samples, interval, listen, upstream }) => {
  const minutes = columns(samples, interval, MINUTE);
  const rows = columns(samples, interval, ROW);
  const last = samples.at(-1);
  const place = byId('charts');
  const total = samples.reduce((sum, { requests }) => sum + Object.values(requests).reduce((a, b) => a + b, 0), 0);
  if (!last || total === 0) {
    const where = listen ? ` Point your program at ${listen} instead of ${upstream}.` : ` Point your program at the proxy instead of ${upstream}.`;
    return place.replaceChildren(el('p', {}, 'No requests yet.', where));
  }
  const perSecond = Object.values(last.requests).reduce((a, b) => a + b, 0) / (interval / 1000);
  const sum = (/** @type {Layer} */ layer) => minutes.reduce((sum, minute) => sum + (layer.value(minute) ?? 0), 0);
  const measured = samples.findLast((sample) => sample.p50_ms !== null) ?? last;
  place.replaceChildren(
    figure('Requests per second', [[short(perSecond), `in the last ${span(interval)}`]], REQUESTS, bars, minutes, rows),
    figure('Latency in ms', [[short(measured.p50_ms), 'p50'], [short(measured.p95_ms), 'p95'], [short(measured.p99_ms), 'p99']], LATENCY, lines, minutes, rows),
    figure('Refused, replayed, waited', TROUBLE.map((layer) => [short(sum(layer)), layer.name]), TROUBLE, bars, minutes, rows));
});

/**
 * @param {string} title @param {string[][]} values @param {Layer[]} layers @param {typeof bars} draw
 * @param {Minute[]} minutes @param {Minute[]} rows
 */
function figure(title, values, layers, draw, minutes, rows) {
  const { drawing, top } = draw(layers, minutes);
  const legend = layers.map(({ name, kind }) => el('span', {}, svg('svg', { class: 'key', viewBox: '0 0 16 8', 'aria-hidden': 'true' }, svg('path', { class: kind, d: draw === lines ? 'M0 4h16' : 'M0 0h16v8H0z' })), name));
  return el('figure', {},
    el('figcaption', {}, el('h3', {}, title), el('p', { class: 'values' }, ...values.map(([value, name]) => el('span', {}, el('b', {}, value), ` ${name}`)))),
    el('div', { class: 'plot', 'aria-hidden': 'true' }, el('span', { class: 'top' }, short(top)), drawing),
    el('p', { class: 'axis', 'aria-hidden': 'true' }, el('span', {}, '1 h before'), el('span', { class: 'end' }, 'now')),
    el('p', { class: 'legend', 'aria-hidden': 'true' }, ...legend),
    table(title, layers, rows));
}

/** Stacked bars. @param {Layer[]} layers @param {Minute[]} minutes */
function bars(layers, minutes) {
  const end = minutes.at(-1)?.at ?? 0;
  const heights = minutes.map((minute) => layers.reduce((sum, layer) => sum + (layer.value(minute) ?? 0), 0));
  const top = ceiling(Math.max(...heights));
  const base = minutes.map(() => 0);
  const paths = layers.map((layer) => {
    const stacked = minutes.map((minute, i) => {
      const low = base[i] ?? 0;
      const high = low + (layer.value(minute) ?? 0) / top;
      base[i] = high;
      return { at: minute.at, low, high };
    });
    return svg('path', { class: layer.kind, d: barPath(stacked, end, MINUTE) });
  });
  return { drawing: plot(paths), top };
}

/** @param {Layer[]} layers @param {Minute[]} minutes */
function lines(layers, minutes) {
  const end = minutes.at(-1)?.at ?? 0;
  const values = minutes.flatMap((minute) => layers.map((layer) => layer.value(minute) ?? 0));
  const top = ceiling(Math.max(...values));
  const paths = layers.map((layer) => {
    const points = minutes.map((minute) => ({ at: minute.at, value: scaled(layer.value(minute), top) }));
    return svg('path', { class: layer.kind, d: linePath(points, end, MINUTE) });
  });
  return { drawing: plot(paths), top };
}

/** @param {number | null} value @param {number} top */
function scaled(value, top) {
  return value === null ? null : value / top;
}

/** @param {Element[]} paths */
function plot(paths) {
  return svg('svg', { viewBox: '0 0 1000 100', preserveAspectRatio: 'none' }, svg('path', { class: 'grid', d: 'M0 0h1000M0 50h1000M0 100h1000' }), ...paths);
}

/** @param {string} title @param {Layer[]} layers @param {Minute[]} rows */
function table(title, layers, rows) {
  const head = ['Until', ...layers.map(({ name }) => name)].map((name) => el('th', { scope: 'col' }, name));
  const body = [...rows].reverse().map((row) =>
    el('tr', {}, el('th', { scope: 'row' }, clock(row.at, row.at)), ...layers.map((layer) => el('td', {}, short(layer.value(row))))));
  return el('div', { class: 'sr' }, el('table', {}, el('caption', {}, `${title}, in steps of five minutes`), el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body)));
}

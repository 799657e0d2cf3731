// The numbers behind the charts.

/** @typedef {import('../types.d.ts').Sample} Sample */

export const HOUR = 3_600_000;

/**
 * One column of a chart.
 * @typedef {object} Minute
 * @property {number} at the end of the minute
 * @property {number} seconds how much of it was observed
 * @property {{ok: number, client: number, failed: number}} requests
 * @property {number | null} p50 @property {number | null} p95 @property {number | null} p99
 * @property {number} refused @property {number} replays @property {number} waits
 */

/**
 * The samples in columns of `width` ms, oldest first. A column without samples is left out. Latencies are the worst of a column.
 * @param {Sample[]} samples @param {number} interval ms per sample @param {number} width
 * @returns {Minute[]}
 */
export function columns(samples, interval, width) {
  /** @type {Map<number, Minute>} */
  const found = new Map();
  for (const sample of samples) {
    // The sample ends at `at`: it belongs to the column that it lies in.
    const at = Math.ceil(Date.parse(sample.at) / width) * width;
    let column = found.get(at);
    if (!column) {
      column = { at, seconds: 0, requests: { ok: 0, client: 0, failed: 0 }, p50: null, p95: null, p99: null, refused: 0, replays: 0, waits: 0 };
      found.set(at, column);
    }
    const { requests } = sample;
    column.seconds += interval / 1000;
    column.requests.ok += requests['2xx'] + requests['3xx'];
    column.requests.client += requests['4xx'];
    column.requests.failed += requests['5xx'] + requests.proxy;
    column.p50 = worse(column.p50, sample.p50_ms);
    column.p95 = worse(column.p95, sample.p95_ms);
    column.p99 = worse(column.p99, sample.p99_ms);
    column.refused += sample.refused;
    column.replays += sample.replays;
    column.waits += sample.waits;
  }
  return [...found.values()].sort((a, b) => a.at - b.at);
}

/** @param {number | null} a @param {number | null} b */
function worse(a, b) {
  return a === null ? b : b === null ? a : Math.max(a, b);
}

/**
 * Keeps the last hour.
 * @param {Sample[]} samples @param {number} now
 */
export function lastHour(samples, now) {
  return samples.filter((sample) => Date.parse(sample.at) > now - HOUR);
}

/**
 * The end of a scale: a round number that is not below `value`.
 * @param {number} value
 */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * (1 - 1e-9)) ?? 10;
  return step * power;
}

/**
 * A number with at most three digits that matter.
 * @param {number | null} value
 * @returns {string}
 */
export function short(value) {
  if (value === null) return '–';
  if (value >= 9_995) return `${short(value / 1000)}k`;
  if (value >= 99.5 || value === 0) return value.toFixed(0);
  if (value >= 9.95) return trim(value.toFixed(1));
  return value < 0.005 ? '<0.01' : trim(value.toFixed(2));
}

/** @param {string} digits */
function trim(digits) {
  return digits.replace(/\.?0+$/, '');
}

/**
 * Where `at` lies between two times, as a percentage.
 * @param {number} at @param {number} from @param {number} to
 */
export function percent(at, from, to) {
  return to > from ? Math.min(100, Math.max(0, ((at - from) / (to - from)) * 100)) : 0;
}

/**
 * Bars of one layer as one SVG path, in a square of 1000 × 100.
 * @param {{at: number, low: number, high: number}[]} bars values from 0 to 1 @param {number} now @param {number} width ms
 */
export function barPath(bars, now, width) {
  const wide = (width / HOUR) * 1000;
  return bars
    .filter(({ low, high }) => high > low)
    .map(({ at, low, high }) => `M${round(x(at, now) - wide)} ${round(100 - high * 100)}h${round(wide * 0.8)}V${round(100 - low * 100)}h${round(-wide * 0.8)}z`)
    .join('');
}

/**
 * A line, broken where a value is missing.
 * @param {{at: number, value: number | null}[]} points values from 0 to 1 @param {number} now @param {number} width ms
 */
export function linePath(points, now, width) {
  let path = '';
  let previous = -Infinity;
  for (const { at, value } of points) {
    if (value === null) continue;
    const place = `${round(x(at, now))} ${round(100 - value * 100)}`;
    // A point alone is a short line, so that it can be seen.
    path += at - previous > width * 1.5 ? `M${place}h-4l4 0` : `L${place}`;
    previous = at;
  }
  return path;
}

/** @param {number} at @param {number} now */
function x(at, now) {
  return 1000 - ((now - at) / HOUR) * 1000;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}

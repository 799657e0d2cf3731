import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HOUR, barPath, ceiling, columns, lastHour, linePath, percent, short } from '../../../src/admin/page/assets/scale.js';
import { NOW, at, samples } from './pages.mjs';

const MINUTE = 60_000;
const sample = (ms, count, p99 = null) => ({
  at: at(ms, 0), requests: { '2xx': count, '3xx': 1, '4xx': 2, '5xx': 3, proxy: 4 }, p50_ms: null, p95_ms: null, p99_ms: p99, replays: 1, refused: 2, waits: 3,
});

test('samples are added up by column, and their worst latency is shown', () => {
  const found = columns([sample(10_000, 5, 7), sample(60_000, 6, 9), sample(70_000, 1)], 10_000, MINUTE);
  assert.deepEqual(found.map(({ at, seconds, requests, p99, waits }) => [at, seconds, requests, p99, waits]), [
    [60_000, 20, { ok: 13, client: 4, failed: 14 }, 9, 6],
    [120_000, 10, { ok: 2, client: 2, failed: 7 }, null, 3],
  ]);
});

test('an hour has at most 61 columns', () => {
  const found = columns(samples(), 10_000, MINUTE);
  assert.ok(found.length >= 60 && found.length <= 61, String(found.length));
});

test('an hour is kept', () => {
  const kept = lastHour([...samples(NOW - MINUTE), ...samples().slice(-6)], NOW);
  assert.equal(kept.length, 360);
});

test('a scale ends at a round number', () => {
  const rows = [[0, 1], [-1, 1], [NaN, 1], [0.3, 0.3], [1, 1], [1.1, 1.5], [2.5, 2.5], [61, 80], [412, 500], [100, 100]];
  for (const [value, top] of rows) assert.equal(ceiling(value).toPrecision(3), top.toPrecision(3), String(value));
});

test('a number has three digits that matter', () => {
  const rows = [[null, '–'], [0, '0'], [0.001, '<0.01'], [0.05, '0.05'], [1, '1'], [1.234, '1.23'], [9.96, '10'], [12.34, '12.3'], [99.6, '100'], [412.4, '412'], [9_994, '9994'], [12_345, '12.3k'], [2_000_000, '2000k']];
  for (const [value, text] of rows) assert.equal(short(value), text, String(value));
});

test('a place between two times is inside', () => {
  const rows = [[5, 0, 10, 50], [-5, 0, 10, 0], [15, 0, 10, 100], [5, 10, 10, 0], [5, 10, 0, 0]];
  for (const [value, from, to, place] of rows) assert.equal(percent(value, from, to), place);
});

test('bars end at the right edge and leave nothing out', () => {
  const bar = (at, low, high) => ({ at, low, high });
  assert.equal(barPath([bar(0, 0, 0.5), bar(HOUR / 2, 0.5, 1), bar(0, 0.2, 0.2)], HOUR / 2, MINUTE), 'M483.3 50h13.3V100h-13.3zM983.3 0h13.3V50h-13.3z');
});

test('a line breaks where nothing was measured', () => {
  const point = (at, value) => ({ at, value });
  assert.equal(linePath([point(0, 0.5), point(MINUTE, 1), point(2 * MINUTE, null), point(3 * MINUTE, 0)], 3 * MINUTE, MINUTE), 'M950 50h-4l4 0L966.7 0M1000 100h-4l4 0');
});

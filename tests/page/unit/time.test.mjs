import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock, countsSeconds, full, parse, relative, span, took } from '../../../src/admin/page/assets/time.js';
import { NOW } from './pages.mjs';

test('a duration has its two largest units, as in status', () => {
  const rows = [[0, '0s'], [999, '0s'], [1_000, '1s'], [61_000, '1m 1s'], [3_600_000, '1h'], [3_605_000, '1h 5s'], [90_061_000, '1d 1h'], [31_536_000_000, '365d']];
  for (const [ms, text] of rows) assert.equal(span(ms), text);
});

test('a text counts seconds only in a last minute', () => {
  const rows = [['Next try in 4s.', true], ['in 59s', true], ['47m 12s', false], ['1h 5s ago', false], ['334d', false], ['0s', true]];
  for (const [text, counts] of rows) assert.equal(countsSeconds(text), counts, text);
});

test('what took long is not in milliseconds', () => {
  const rows = [[0, '0 ms'], [212, '212 ms'], [5_012, '5 s'], [5_150, '5.2 s'], [30_000, '30 s'], [61_000, '1m 1s']];
  for (const [ms, text] of rows) assert.equal(took(ms), text);
});

test('a time is relative in whole seconds', () => {
  const rows = [[0, 'now'], [400, 'now'], [1_500, 'in 1s'], [-1, '1s ago'], [-61_000, '1m 1s ago'], [86_400_000, 'in 1d']];
  for (const [ms, text] of rows) assert.equal(relative(NOW + ms, NOW), text, String(ms));
});

test('a time of another day has its date', () => {
  assert.equal(clock(NOW, NOW, 'UTC'), '03:12:30');
  assert.equal(clock(NOW - 86_400_000, NOW, 'UTC'), '27 Nov 2026, 03:12:30');
  // Midnight is that of the zone.
  assert.equal(clock(NOW - 3 * 3_600_000, NOW, 'UTC'), '00:12:30');
  assert.equal(clock(NOW - 4 * 3_600_000, NOW, 'Europe/Berlin'), '00:12:30');
});

test('the title has both zones', () => {
  assert.equal(full(NOW, 'Europe/Berlin'), '28 Nov 2026, 04:12:30 CET (2026-11-28 03:12:30 UTC)');
});

test('what is no time is unknown', () => {
  for (const text of [null, undefined, '', 'soon']) assert.equal(parse(text), null);
  assert.equal(parse('2026-11-28T03:12:30Z'), NOW);
});

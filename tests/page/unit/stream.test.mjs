import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff, parser } from '../../../src/admin/page/assets/stream.js';

const TEXT = 'event: page\ndata: {"a":1}\n\n: comment\n\nevent: sample\ndata: 1\ndata: 2\n\ndata: alone\n\nevent: none\n\n';
const EVENTS = [['page', '{"a":1}'], ['sample', '1\n2'], ['message', 'alone']];

test('an event stream is the same however it is cut', () => {
  for (const end of ['\n', '\r\n']) {
    const text = TEXT.replaceAll('\n', end);
    for (let size = 1; size <= text.length; size += 1) {
      const found = [];
      const feed = parser((event, data) => found.push([event, data]));
      for (let i = 0; i < text.length; i += size) feed(text.slice(i, i + size));
      assert.deepEqual(found, EVENTS, `pieces of ${size}`);
    }
  }
});

test('the pause before another attempt grows to 5 s, and differs between pages', () => {
  const rows = [[0, 0, 125], [0, 1, 250], [1, 1, 500], [4, 1, 4_000], [5, 0, 2_500], [5, 1, 5_000], [99, 1, 5_000]];
  for (const [n, random, ms] of rows) assert.equal(backoff(n, random), ms);
});

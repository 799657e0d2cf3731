// Page documents for the tests and the mock server.

/** The time of the documents. */
export const NOW = Date.parse('2026-11-28T03:12:30Z');
const DAY = 86_400_000;

/** @param {number} ms from now @param {number} [now] */
export function at(ms, now = NOW) {
  return new Date(now + ms).toISOString().replace(/\.\d+Z/, 'Z');
}

/**
 * A status document: valid, unless `change` says otherwise.
 * @param {object} [change] @param {number} [now]
 */
export function status(change = {}, now = NOW) {
  return {
    state: 'valid',
    grant: 'refresh_token',
    profile: 'passolution',
    generation: 41,
    obtained_at: at(-6 * DAY, now),
    expires_at: at(359 * DAY, now),
    refresh_at: at(334 * DAY + 7_200_000, now),
    retry_at: null,
    retrying: null,
    refused_at: null,
    last_refresh: { at: at(-6 * DAY, now), trigger: 'scheduled', outcome: 'ok', duration_ms: 212, error: null },
    persisted: true,
    store: 'file',
    draining: false,
    version: '0.2.0',
    reason: null,
    ...change,
  };
}

/** @param {object} [change] of the status @param {object} [more] of the page @param {number} [now] */
export function page(change = {}, more = {}, now = NOW) {
  return {
    now: at(0, now),
    interval_ms: 10_000,
    listen: 'http://127.0.0.1:8080',
    status: status(change, now),
    upstream: 'https://api.passolution.eu',
    samples: samples(now),
    refreshes: refreshes(now),
    problems: [],
    store: { kind: 'file', shared: false, holder: null, held_until: null, this: 'web-1', refreshed_by: null },
    login: {
      offered: false,
      why_not: 'no-key',
      command: 'bearer-proxy login',
      redirect_uri: 'http://127.0.0.1/callback',
      callback_origin: null,
      last: null,
    },
    ...more,
  };
}

/** An hour of traffic, the same each time. @param {number} [now] @param {number} [scale] */
export function samples(now = NOW, scale = 1) {
  return Array.from({ length: 360 }, (_, i) => {
    const wave = 1 + Math.sin(i / 25) * 0.6 + Math.sin(i / 7) * 0.2;
    const burst = i > 200 && i < 214;
    return {
      at: at((i - 359) * 10_000, now),
      requests: {
        '2xx': Math.round(400 * wave * scale),
        '3xx': 0,
        '4xx': Math.round(8 * wave * scale),
        '5xx': burst ? Math.round(90 * scale) : 0,
        proxy: burst ? Math.round(40 * scale) : 0,
      },
      p50_ms: scale ? 31 + wave * 4 : null,
      p95_ms: scale ? 64 + wave * 9 + (burst ? 60 : 0) : null,
      p99_ms: scale ? 92 + wave * 14 + (burst ? 140 : 0) : null,
      replays: burst && scale ? 2 : 0,
      refused: burst && scale ? 2 : 0,
      waits: burst && scale ? 9 : 0,
    };
  });
}

/** @param {number} [now] */
export function refreshes(now = NOW) {
  const rows = [
    [-340, 'startup', 'ok', 231, null],
    [-240, 'scheduled', 'ok', 198, null],
    [-120, 'scheduled', 'transient', 5012, 'HTTP 503 from the token endpoint'],
    [-119.9, 'scheduled', 'ok', 220, null],
    [-60, 'rejected', 'ok', 305, null],
    [-30, 'manual', 'ambiguous', 30_000, 'no response within 30s'],
    [-6, 'scheduled', 'ok', 212, null],
  ];
  return rows.map(([days, trigger, outcome, duration_ms, error]) => ({ at: at(Number(days) * DAY, now), trigger, outcome, duration_ms, error }));
}

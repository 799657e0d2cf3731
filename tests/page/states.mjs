// The states that the page must show. Each is what differs from a valid grant: of the status, and of the page.

import { at, page, samples } from './unit/pages.mjs';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const NO_GRANT = { generation: 0, obtained_at: null, expires_at: null, refresh_at: null, last_refresh: null };

/** @param {number} now @param {string} outcome @param {string | null} error @param {number} ms */
const last = (now, outcome, error, ms = -9_000) => ({ at: at(ms, now), trigger: 'scheduled', outcome, duration_ms: 9, error });

/** @param {number} now @param {string | null} id @param {string} level @param {string} message @param {number} count @param {number} ms */
const problem = (now, id, level, message, count, ms) => ({
  id, level, message, count,
  first_at: at(ms - count * MINUTE, now),
  last_at: at(ms, now),
  doc: id && `https://example.org/checks.html#${id}`,
});

const offered = { offered: true, why_not: null, callback_origin: null, command: 'bearer-proxy login', redirect_uri: 'http://127.0.0.1/callback', last: null };

/** @type {Record<string, (now: number) => [object, object]>} */
export const STATES = {
  valid: (now) => [{}, {
    problems: [problem(now, 'endpoint-throttles', 'warn', 'the token endpoint answered 503, and the refresh is tried again', 3, -2 * HOUR), problem(now, null, 'warn', 'a slow client was closed', 1, -5 * HOUR)],
    login: { ...offered, callback_origin: 'here' },
  }],
  starting: (now) => [{ ...NO_GRANT, state: 'starting', last_refresh: last(now, 'transient', 'login.passolution.eu:443: connection refused'), retry_at: at(4_000, now), retrying: 'refresh' }, {
    samples: [], refreshes: [{ ...last(now, 'transient', 'login.passolution.eu:443: connection refused'), trigger: 'startup' }],
    problems: [problem(now, 'tcp-refused', 'error', 'login.passolution.eu:443 (token endpoint): connection refused', 4, -9_000)],
  }],
  empty: (now) => [{ obtained_at: at(-20_000, now), expires_at: at(365 * DAY, now), refresh_at: at(335 * DAY, now), generation: 1 }, { samples: samples(now, 0).slice(-2), refreshes: [] }],
  expiring: (now) => [{ state: 'expiring', obtained_at: at(-50 * MINUTE, now), refresh_at: at(-MINUTE, now), expires_at: at(10 * MINUTE, now), last_refresh: last(now, 'transient', 'HTTP 503'), retry_at: at(12_000, now), retrying: 'refresh' }, {
    problems: [problem(now, 'endpoint-throttles', 'warn', 'the token endpoint answered 503, and the refresh is tried again', 3, -9_000)],
  }],
  refused: (now) => [{ state: 'refused', refused_at: at(-7 * MINUTE, now), last_refresh: last(now, 'ambiguous', 'no response within 30s'), retry_at: at(20_000, now), retrying: 'refresh' }, {
    problems: [problem(now, 'grant-refresh-fails', 'error', 'the refresh failed: no response within 30s', 5, -9_000)],
  }],
  expired: (now) => [{ state: 'expired', obtained_at: at(-65 * MINUTE, now), refresh_at: at(-17 * MINUTE, now), expires_at: at(-5 * MINUTE, now), last_refresh: last(now, 'transient', 'login.passolution.eu:443: no route to host'), retry_at: at(41_000, now), retrying: 'refresh' }, {
    problems: [problem(now, 'tcp-refused', 'error', 'login.passolution.eu:443 (token endpoint): no route to host', 12, -9_000)],
  }],
  'needs-login': (now) => [{ state: 'needs_login', expires_at: at(5 * HOUR + 10 * MINUTE, now), refresh_at: null, last_refresh: last(now, 'rejected', 'invalid_grant', -40 * MINUTE), reason: 'The authorization server refused the refresh token. Log in again with `bearer-proxy login`, or store a new grant with `bearer-proxy import`.' }, {
    problems: [problem(now, 'grant-needs-login', 'error', 'the grant needs a login', 1, -40 * MINUTE)], login: offered,
  }],
  'needs-login-command': (now) => [{ state: 'needs_login', expires_at: at(-HOUR, now), refresh_at: null, last_refresh: last(now, 'rejected', 'invalid_grant', -40 * MINUTE), reason: 'The authorization server refused the refresh token. Log in again with `bearer-proxy login`.' }, {
    problems: [problem(now, 'grant-needs-login', 'error', 'the grant needs a login', 1, -40 * MINUTE)],
  }],
  'no-login-yet': () => [{ ...NO_GRANT, state: 'needs_login', reason: 'No grant is stored. Log in with `bearer-proxy login`, or store a grant with `bearer-proxy import`.' }, { samples: [], refreshes: [], login: { ...offered, callback_origin: 'here' } }],
  'login-failed': (now) => [{ state: 'needs_login', refresh_at: null, last_refresh: last(now, 'rejected', 'invalid_grant', -40 * MINUTE), reason: 'The authorization server refused the refresh token.' }, {
    login: { ...offered, last: { at: at(-4_000, now), ok: false, message: 'the authorization server refused the login (access_denied). Check oauth.scope and oauth.authorize_parameters, then log in again' } },
  }],
  misconfigured: (now) => [{ last_refresh: last(now, 'misconfigured', 'HTTP 401, invalid_client; check oauth.client_id, oauth.client_secret, oauth.client_auth and oauth.send_redirect_uri_on_refresh') }, {
    problems: [problem(now, 'client-rejected', 'error', 'the refresh failed: invalid_client', 2, -9_000)],
  }],
  unpersisted: (now) => [{ persisted: false, retrying: 'store', retry_at: at(2_000, now) }, {
    problems: [problem(now, 'grant-unpersisted', 'error', '/var/lib/bearer-proxy/grant.json: no space left on device', 8, -2_000)],
  }],
  draining: () => [{ draining: true }, {}],
  static: () => [{ grant: 'static', refresh_at: null, last_refresh: null, expires_at: null, store: 'memory', generation: 1 }, { refreshes: [], login: { ...offered, offered: false, why_not: 'grant-type' } }],
  'client-credentials': (now) => [{ grant: 'client_credentials', store: 'memory', obtained_at: at(-8 * MINUTE, now), expires_at: at(52 * MINUTE, now), refresh_at: at(40 * MINUTE, now), last_refresh: { ...last(now, 'ok', null, -8 * MINUTE) } }, { login: { ...offered, offered: false, why_not: 'grant-type' } }],
  shared: (now) => [{ store: 'postgres', last_refresh: { ...last(now, 'ok', null, -HOUR), trigger: 'peer' } }, {
    store: { kind: 'postgres', shared: true, holder: 'passolution-gateway-7f9c-x2x8k', held_until: at(12_000, now), this: 'passolution-gateway-7f9c-kq4vd', refreshed_by: 'passolution-gateway-7f9c-x2x8k' },
  }],
  busy: (now) => [{}, {
    upstream: 'https://a-tenant-with-a-very-long-name.europe-west4.api.gateway.passolution-internal.example',
    problems: Array.from({ length: 50 }, (_, i) => problem(now, 'upstream-unreachable', i % 3 ? 'warn' : 'error', `the upstream at https://a-tenant-with-a-very-long-name.europe-west4.example/api/v2/${'segment'.repeat(9)} did not answer within 60 s`, 1 + i * 97, -i * MINUTE)),
    refreshes: Array.from({ length: 50 }, (_, i) => ({ ...last(now, ['ok', 'transient', 'ambiguous', 'rejected', 'misconfigured'][i % 5] ?? 'ok', i % 5 ? 'HTTP 500 with a page of HTML; check oauth.token_url and the registration of the client' : null, (i - 50) * HOUR), trigger: ['scheduled', 'rejected', 'manual', 'peer'][i % 4] })),
  }],
};

/** The document of a state. @param {string} name @param {number} [now] @param {string} [origin] of the page */
export function pageOf(name, now = Date.now(), origin = '') {
  const [status, more] = STATES[name]?.(now) ?? [{}, {}];
  const made = page(status, more, now);
  if (made.login.callback_origin === 'here') made.login = { ...made.login, callback_origin: /** @type {any} */ (origin) };
  return made;
}

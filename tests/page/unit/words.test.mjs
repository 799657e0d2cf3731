import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connection, describe, SHAPES } from '../../../src/admin/page/assets/words.js';
import { NOW, at, page } from './pages.mjs';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const failed = (outcome, error) => ({ at: at(-5_000), trigger: 'scheduled', outcome, duration_ms: 9, error });
const login = (offered) => ({ login: { ...page().login, offered } });
const noGrant = { generation: 0, last_refresh: null, obtained_at: null, expires_at: null, refresh_at: null };
const refusedToken = { state: 'needs_login', last_refresh: failed('rejected', 'invalid_grant'), reason: 'Refused. Log in again with `bearer-proxy login`.' };

/** What differs from a valid status, what differs from its page, and tone, word, line, what to do, and the fix. */
const ROWS = [
  ['valid', {}, {}, 'working', 'Valid', 'The proxy refreshes the token by itself in 334d 2h.', 'Nothing to do.', null],
  ['valid, with an unknown end', { expires_at: null, refresh_at: null }, {}, 'working', 'Valid', 'The proxy refreshes the token when the API refuses it.', 'Nothing to do.', null],
  ['valid, after a failed refresh', { last_refresh: failed('transient', 'HTTP 503'), retry_at: at(4_000), retrying: 'refresh' }, {},
    'waiting', 'Valid', 'The last refresh failed: HTTP 503. Next try in 4s.', 'Nothing to do yet. The token works for another 359d.', 'refresh'],
  ['valid, refused on one request', { refused_at: at(-60_000) }, {},
    'waiting', 'Valid', 'The API refused this token on a request at 03:11:30, and may accept it on others.', 'If every request fails, press Refresh.', 'refresh'],
  ['expiring', { state: 'expiring', expires_at: at(5 * HOUR + 180_000), last_refresh: failed('ambiguous', 'HTTP 500.'), retry_at: at(12_000) }, {},
    'waiting', 'Expiring', 'A refresh is due. The last refresh failed: HTTP 500. Next try in 12s.', 'Nothing to do yet. The token works for another 5h 3m.', 'refresh'],
  ['expiring, trying now', { state: 'expiring', retry_at: at(0) }, {},
    'waiting', 'Expiring', 'A refresh is due. It is tried again now.', 'Nothing to do yet. The token works for another 359d.', 'refresh'],
  ['refused', { state: 'refused', refused_at: at(-DAY) }, {},
    'failing', 'Refused', 'The API refuses the token since 27 Nov 2026, 03:12:30.', 'The proxy refreshes it by itself. Press Refresh to try now.', 'refresh'],
  ['expired', { state: 'expired', expires_at: at(-300_000), last_refresh: failed('transient', 'connection refused'), retry_at: at(9_000) }, {},
    'failing', 'Expired', 'The token expired 5m ago, so requests get 503. The last refresh failed: connection refused. Next try in 9s.', 'See the problems below. Press Refresh to try now.', 'refresh'],
  ['needs a login, offered here', refusedToken, login(true),
    'person', 'Needs a login', 'The authorization server refused the refresh token at 03:12:25.', 'Log in with the button below. The token works for another 359d.', 'login'],
  ['needs a login, expired, not offered here', { ...refusedToken, expires_at: at(-1_000) }, {},
    'person', 'Needs a login', 'The authorization server refused the refresh token at 03:12:25.', 'Run the command below where the proxy runs. Until then, requests get 503.', 'login'],
  ['needs a login, another server', { state: 'needs_login', reason: 'The stored grant belongs to another server. Undo the change, or log in.' }, {},
    'person', 'Needs a login', 'The stored grant belongs to another server.', 'Run the command below where the proxy runs. The token works for another 359d.', 'login'],
  ['no grant yet', { ...noGrant, state: 'needs_login', reason: 'No grant is stored. Log in with `bearer-proxy login`.' }, login(true),
    'person', 'No login yet', 'No grant is stored.', 'Log in with the button below. From then on, the proxy refreshes by itself.', 'login'],
  ['starting', { ...noGrant, state: 'starting' }, {}, 'waiting', 'Starting', 'The proxy gets its first token.', 'Nothing to do. Requests wait for it.', null],
  ['starting, and failing', { ...noGrant, state: 'starting', last_refresh: failed('transient', 'no route'), retry_at: at(1_000) }, {},
    'waiting', 'Starting', 'There is no token yet. The last refresh failed: no route. Next try in 1s.', 'Requests get 503 until a refresh succeeds.', 'refresh'],
  ['starting, without the store', { ...noGrant, state: 'starting', store: 'postgres', retrying: 'load', retry_at: at(3_000) }, {},
    'waiting', 'Starting', 'The postgres store cannot be read. Next try in 3s.', 'Repair the store. Requests get 503 until then.', null],
  ['draining', { draining: true }, {}, 'waiting', 'Draining', 'The proxy ends its requests in flight, then it stops.', 'To use it again, start it again.', null],
  ['not stored', { persisted: false, retrying: 'store', retry_at: at(2_000) }, {},
    'failing', 'Not stored', 'The newest token is only in memory: the file store does not accept it. Next try in 2s.', 'Repair the store. Do not stop the proxy before: the grant would be lost.', null],
  ['misconfigured', { last_refresh: failed('misconfigured', 'invalid_client; check oauth.client_secret') }, {},
    'person', 'Misconfigured', 'The authorization server does not accept this configuration: invalid_client; check oauth.client_secret.', 'Correct the configuration, then press Refresh. The token works for another 359d.', 'refresh'],
  ['static', { grant: 'static', refresh_at: null, last_refresh: null }, {},
    'working', 'Valid', 'The token ends in 359d, and the proxy cannot refresh it.', 'Replace oauth.access_token before that.', null],
  ['static, ends soon', { grant: 'static', refresh_at: null, last_refresh: null, expires_at: at(2 * HOUR) }, {},
    'waiting', 'Valid', 'The token ends in 2h, and the proxy cannot refresh it.', 'Replace oauth.access_token before that.', null],
  ['static, with an unknown end', { grant: 'static', refresh_at: null, last_refresh: null, expires_at: null }, {},
    'working', 'Valid', 'The token has no known end, and the proxy cannot refresh it.', 'Nothing to do until the API refuses it.', null],
  ['static, expired', { grant: 'static', state: 'expired', expires_at: at(-1_000), last_refresh: null }, {},
    'failing', 'Expired', 'The token expired 1s ago, so requests get 503.', 'Replace oauth.access_token.', null],
  ['client credentials', { grant: 'client_credentials', refresh_at: at(600_000) }, {},
    'working', 'Valid', 'The proxy refreshes the token by itself in 10m.', 'Nothing to do.', null],
  ['a state of a later version', { state: 'levitating' }, {}, 'unknown', 'Unknown', 'This page does not know the state “levitating”.', 'Reload the page.', null],
];

for (const [name, change, more, tone, word, line, todo, fix] of ROWS) {
  test(`a grant that is ${name} is described`, () => {
    assert.deepEqual(describe(page(change, more), NOW, 'UTC'), { tone, word, line, todo, fix });
  });
}

test('a drain is said before anything else, and a login before the store', () => {
  assert.equal(describe(page({ ...refusedToken, draining: true }), NOW).word, 'Draining');
  assert.equal(describe(page({ ...refusedToken, persisted: false }), NOW).word, 'Needs a login');
  assert.equal(describe(page({ state: 'expired', persisted: false }), NOW).word, 'Not stored');
});

test('figures are current only while the proxy is heard', () => {
  const rows = [
    [{ kind: 'connecting' }, null, 'Connecting'],
    [{ kind: 'connecting' }, 1_000, undefined],
    [{ kind: 'live' }, 25_000, undefined],
    [{ kind: 'live' }, 25_001, 'No connection'],
    [{ kind: 'connecting' }, 26_000, 'No connection'],
    [{ kind: 'broken', why: 'gone' }, 1_000, 'No connection'],
    [{ kind: 'broken', why: 'gone' }, null, 'No connection'],
    [{ kind: 'draining' }, null, 'Draining'],
    [{ kind: 'full' }, null, 'Too many pages'],
    [{ kind: 'key', wrong: false }, null, 'Key needed'],
    [{ kind: 'key', wrong: true }, null, 'Wrong key'],
  ];
  for (const [link, silence, word] of rows) {
    const heard = silence === null ? null : NOW - silence;
    assert.equal(connection(link, heard, NOW)?.word, word, JSON.stringify([link, silence]));
  }
});

test('a lost connection names the time of the figures', () => {
  const words = connection({ kind: 'broken', why: 'The proxy does not answer' }, NOW - 61_000, NOW, false, 'UTC');
  assert.equal(words?.line, 'The proxy does not answer. The figures below are from 03:11:29 (1m 1s ago).');
});

test('a proxy that drained and went is stopped, not broken', () => {
  assert.equal(connection({ kind: 'broken', why: 'gone' }, NOW, NOW, true)?.word, 'Stopped');
});

test('no two tones have the same shape', () => {
  assert.equal(new Set(Object.values(SHAPES)).size, 5);
});

// What the page says first: what is, and what to do. Pure.

import { clock, parse, relative, span } from './time.js';

/** @typedef {import('../types.d.ts').Page} Page */
/** @typedef {import('../types.d.ts').Status} Status */
/** @typedef {import('../types.d.ts').Words} Words */
/** @typedef {import('../types.d.ts').Tone} Tone */
/** @typedef {import('../types.d.ts').Link} Link */

const NOTHING = 'Nothing to do.';

/** The shape of each tone. No two tones differ by colour alone. */
export const SHAPES = { working: '●', waiting: '▲', failing: '✕', person: '■', unknown: '○' };

/** How a refresh ended. */
export const OUTCOMES = {
  ok: /** @type {const} */ ({ tone: 'working', word: 'ok' }),
  transient: /** @type {const} */ ({ tone: 'waiting', word: 'failed, tried again' }),
  ambiguous: /** @type {const} */ ({ tone: 'waiting', word: 'outcome unknown' }),
  rejected: /** @type {const} */ ({ tone: 'person', word: 'refused' }),
  misconfigured: /** @type {const} */ ({ tone: 'person', word: 'misconfigured' }),
};

/** @type {Words} */
const DRAINING = {
  tone: 'waiting',
  word: 'Draining',
  line: 'The proxy ends its requests in flight, then it stops.',
  todo: 'To use it again, start it again.',
  fix: null,
};

/** The silence after which the figures are stale. The proxy sends something every 10 s. */
export const STALE_MS = 25_000;

/**
 * The state of the grant in words.
 * @param {Page} page @param {number} now the proxy's time @param {string} [zone] for tests
 * @returns {Words}
 */
export function describe(page, now, zone) {
  const { status } = page;
  if (status.draining) return DRAINING;
  if (status.state === 'needs_login') return needsLogin(page, now, zone);
  if (!status.persisted) {
    return say(
      'failing',
      'Not stored',
      `The newest token is only in memory: the ${status.store} store does not accept it.${nextTry(status, now)}`,
      'Repair the store. Do not stop the proxy before: the grant would be lost.',
    );
  }
  const last = status.last_refresh;
  if (last?.outcome === 'misconfigured') {
    const line = `The authorization server does not accept this configuration: ${sentence(last.error)}`;
    return say('person', 'Misconfigured', line, `Correct the configuration, then press Refresh. ${tokenWorks(status, now)}`, 'refresh');
  }
  switch (status.state) {
    case 'starting':
      return starting(status, now);
    case 'valid':
      return valid(status, now, zone);
    case 'expiring':
      return say('waiting', 'Expiring', `A refresh is due.${failure(status)}${nextTry(status, now)}`, `Nothing to do yet. ${tokenWorks(status, now)}`, 'refresh');
    case 'refused':
      return refused(status, now, zone);
    case 'expired':
      return expired(status, now);
    default:
      return say('unknown', 'Unknown', `This page does not know the state “${status.state}”.`, 'Reload the page.');
  }
}

/**
 * What the page says while it has no current figures. `null`: the figures are current.
 * @param {Link} link @param {number | null} heard when the proxy was last heard @param {number} now both in the browser's time
 * @param {boolean} [wasDraining] @param {string} [zone] for tests
 * @returns {Words | null}
 */
export function connection(link, heard, now, wasDraining = false, zone = undefined) {
  const since = heard === null ? '' : ` The figures below are from ${clock(heard, now, zone)} (${relative(heard, now)}).`;
  switch (link.kind) {
    case 'key':
      return link.wrong
        ? say('person', 'Wrong key', 'The proxy does not accept this key.', 'Enter the value of admin.key.', 'key')
        : say('person', 'Key needed', 'This proxy shows its state only with its key.', 'Enter the value of admin.key. It stays in this tab.', 'key');
    case 'draining':
      return DRAINING;
    case 'full':
      return say('unknown', 'Too many pages', `The proxy serves eight open pages at most.${since}`, 'Close another one. This page continues by itself.');
    case 'broken':
      if (wasDraining) {
        return say('unknown', 'Stopped', `The proxy drained its requests and stopped.${since}`, 'To use it again, start it again. This page then continues by itself.');
      }
      return say('unknown', 'No connection', `${sentence(link.why)}${since}`, 'This page tries again by itself. If it lasts, see whether the proxy runs.');
    case 'connecting':
    case 'live':
      if (heard === null) return say('unknown', 'Connecting', 'The page asks the proxy for its state.', NOTHING);
      return now - heard > STALE_MS
        ? say('unknown', 'No connection', `The proxy has sent nothing for ${span(now - heard)}.${since}`, 'This page tries again by itself.')
        : null;
  }
}

/** @param {Page} page @param {number} now @param {string} [zone] @returns {Words} */
function needsLogin({ status, login }, now, zone) {
  const last = status.last_refresh;
  const isRejected = last?.outcome === 'rejected';
  const at = parse(last?.at);
  const reason = sentence((status.reason ?? 'The grant cannot be used').replaceAll('`', ''));
  if (status.grant === 'static') {
    return say('person', 'Needs a new token', reason, works(status, now) ? tokenWorks(status, now) : 'Requests get 503 until then.');
  }
  const rest = works(status, now) ? ` ${tokenWorks(status, now)}` : ' Until then, requests get 503.';
  const how = login.offered ? 'Log in with the button below.' : 'Run the command below where the proxy runs.';
  if (status.generation === 0 && !last) {
    return say('person', 'No login yet', first(reason), `${how} From then on, the proxy refreshes by itself.`, 'login');
  }
  const line = isRejected && at !== null ? `The authorization server refused the refresh token at ${clock(at, now, zone)}.` : first(reason);
  return say('person', 'Needs a login', line, `${how}${rest}`, 'login');
}

/** @param {Status} status @param {number} now @returns {Words} */
function starting(status, now) {
  if (status.retrying === 'load') {
    return say('waiting', 'Starting', `The ${status.store} store cannot be read.${nextTry(status, now)}`, 'Repair the store. Requests get 503 until then.');
  }
  if (status.last_refresh?.error) {
    return say('waiting', 'Starting', `There is no token yet.${failure(status)}${nextTry(status, now)}`, 'Requests get 503 until a refresh succeeds.', 'refresh');
  }
  return say('waiting', 'Starting', 'The proxy gets its first token.', `${NOTHING} Requests wait for it.`);
}

/** @param {Status} status @param {number} now @param {string} [zone] @returns {Words} */
function valid(status, now, zone) {
  const refusedAt = parse(status.refused_at);
  if (refusedAt !== null) {
    const line = `The API refused this token on a request at ${clock(refusedAt, now, zone)}, and may accept it on others.`;
    return say('waiting', 'Valid', line, status.reason ?? 'If every request fails, press Refresh.', status.grant === 'static' ? null : 'refresh');
  }
  const end = parse(status.expires_at);
  if (status.grant === 'static') {
    return end === null
      ? say('working', 'Valid', 'The token has no known end, and the proxy cannot refresh it.', 'Nothing to do until the API refuses it.')
      : say(end - now < 86_400_000 ? 'waiting' : 'working', 'Valid', `The token ends ${relative(end, now)}, and the proxy cannot refresh it.`, 'Replace oauth.access_token before that.');
  }
  const last = status.last_refresh;
  if (last && last.outcome !== 'ok' && last.error) {
    return say('waiting', 'Valid', `The last refresh failed: ${sentence(last.error)}${nextTry(status, now)}`, `Nothing to do yet. ${tokenWorks(status, now)}`, 'refresh');
  }
  const next = parse(status.refresh_at);
  if (next === null) return say('working', 'Valid', 'The proxy refreshes the token when the API refuses it.', NOTHING);
  return say('working', 'Valid', `The proxy refreshes the token by itself ${relative(next, now)}.`, NOTHING);
}

/** @param {Status} status @param {number} now @param {string} [zone] @returns {Words} */
function refused(status, now, zone) {
  const at = parse(status.refused_at);
  const since = at === null ? '' : ` since ${clock(at, now, zone)}`;
  const line = `The API refuses the token${since}.${failure(status)}${nextTry(status, now)}`;
  if (status.reason) return say('failing', 'Refused', line, status.reason);
  return say('failing', 'Refused', line, status.grant === 'static' ? 'Replace oauth.access_token.' : 'The proxy refreshes it by itself. Press Refresh to try now.', 'refresh');
}

/** @param {Status} status @param {number} now @returns {Words} */
function expired(status, now) {
  const end = parse(status.expires_at);
  const line = `The token expired${end === null ? '' : ` ${relative(end, now)}`}, so requests get 503.${failure(status)}${nextTry(status, now)}`;
  if (status.grant === 'static') return say('failing', 'Expired', line, status.reason ?? 'Replace oauth.access_token.');
  return say('failing', 'Expired', line, 'See the problems below. Press Refresh to try now.', 'refresh');
}

/** @param {Tone} tone @param {string} word @param {string} line @param {string} todo @param {Words['fix']} [fix] @returns {Words} */
function say(tone, word, line, todo, fix = null) {
  return { tone, word, line, todo, fix };
}

/** @param {Status} status */
function failure({ last_refresh: last }) {
  return last && last.outcome !== 'ok' && last.error ? ` The last refresh failed: ${sentence(last.error)}` : '';
}

/** @param {Status} status @param {number} now */
function nextTry(status, now) {
  const at = parse(status.retry_at);
  if (at === null) return '';
  return at <= now ? ' It is tried again now.' : ` Next try ${relative(at, now)}.`;
}

/** @param {Status} status @param {number} now */
function works(status, now) {
  const end = parse(status.expires_at);
  return status.obtained_at !== null && (end === null || end > now);
}

/** @param {Status} status @param {number} now */
function tokenWorks(status, now) {
  const end = parse(status.expires_at);
  if (!works(status, now)) return 'Requests get 503 until then.';
  return end === null ? 'The token still works.' : `The token works for another ${span(end - now)}.`;
}

/** @param {string | null | undefined} text */
function sentence(text) {
  const trimmed = (text ?? '').trim();
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

/** The first sentence. @param {string} text */
function first(text) {
  return /^.*?\.(?=\s|$)/s.exec(text)?.[0] ?? text;
}

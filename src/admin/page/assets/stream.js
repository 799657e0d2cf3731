// The events of the proxy, over a fetch that can carry the key.

/** @typedef {import('../types.d.ts').Events} Events */

const LONGEST_MS = 5_000;
/** A proxy that accepts a connection and is silent counts as gone. It sends something every 10 s. */
export const SILENCE_MS = 25_000;

/**
 * How long to wait before attempt `n`, from 0. With jitter, so that many pages do not return to a restarted proxy at once.
 * @param {number} n @param {number} random from 0 to 1
 */
export function backoff(n, random) {
  const limit = Math.min(LONGEST_MS, 250 * 2 ** n);
  return Math.round(limit / 2 + (limit / 2) * random);
}

/**
 * Parses an event stream. Gives each event to `each`.
 * @param {(event: string, data: string) => void} each
 */
export function parser(each) {
  let rest = '';
  let event = '';
  /** @type {string[]} */
  let data = [];
  return (/** @type {string} */ text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) each(event || 'message', data.join('\n'));
        event = '';
        data = [];
      } else if (line.startsWith('event:')) event = line.slice(6).trim();
      else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
    }
  };
}

/**
 * Follows the proxy while the page is visible, until `stop`.
 * @param {(path: string, init: RequestInit) => Promise<Response>} ask @param {Events} events
 */
export function follow(ask, events) {
  let attempt = 0;
  /** @type {AbortController | null} */
  let open = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  function later(/** @type {number} */ ms) {
    clearTimeout(timer);
    timer = setTimeout(start, ms);
  }

  function stop() {
    clearTimeout(timer);
    open?.abort();
    open = null;
  }

  async function start() {
    stop();
    if (document.hidden) return;
    const mine = new AbortController();
    open = mine;
    try {
      const began = Date.now();
      const ended = await read(mine);
      if (open !== mine) return;
      // The proxy ends a stream before the connection's age limit: that is no failure. A drain ends it at once.
      if (ended === 'ended') later(Date.now() - began < 2_000 ? 1_000 : 0);
    } catch (error) {
      if (open !== mine) return;
      const why = error instanceof Silent ? 'The proxy is silent' : 'The proxy does not answer';
      events.link({ kind: 'broken', why });
      later(backoff(attempt, Math.random()));
      attempt += 1;
    }
  }

  /** @param {AbortController} mine @returns {Promise<'ended' | 'refused'>} */
  async function read(mine) {
    let silent = false;
    const silence = () => setTimeout(() => { silent = true; mine.abort(); }, SILENCE_MS);
    let watch = silence();
    try {
      const response = await ask('/events', { signal: mine.signal });
      if (!response.ok || !response.body) return await refused(response);
      let seen = 0;
      const feed = parser((event, data) => {
        seen += 1;
        attempt = 0;
        events.link({ kind: 'live' });
        if (event === 'page') events.page(JSON.parse(data));
        if (event === 'sample') events.sample(JSON.parse(data));
      });
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(watch);
        watch = silence();
        feed(decoder.decode(value, { stream: true }));
      }
      if (seen === 0) throw new Error('no event');
      return 'ended';
    } catch (error) {
      throw silent ? new Silent() : error;
    } finally {
      clearTimeout(watch);
    }
  }

  /** @param {Response} response @returns {Promise<'refused'>} */
  async function refused(response) {
    const problem = await response.json().catch(() => ({}));
    if (response.status === 401) {
      // No retry: a person enters the key.
      events.link({ kind: 'key', wrong: false });
    } else if (problem.type === 'urn:bearer-proxy:draining') {
      events.link({ kind: 'draining' });
      later(1_000);
    } else if (problem.type === 'urn:bearer-proxy:too-many-streams') {
      events.link({ kind: 'full' });
      later(backoff(10, Math.random()));
    } else {
      events.link({ kind: 'broken', why: problem.detail ?? `The proxy answered ${response.status}` });
      later(backoff(attempt, Math.random()));
      attempt += 1;
    }
    return 'refused';
  }

  document.addEventListener('visibilitychange', () => (document.hidden ? stop() : start()));
  return { start, stop };
}

class Silent extends Error {}

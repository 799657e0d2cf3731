// An admin listener that says what it is told, for states that are hard to cause, and to develop the page:
//
//   node mock.mjs [STATE] [KEY]

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { pageOf } from './states.mjs';

const ASSETS = fileURLToPath(new URL('../../src/admin/page/assets/', import.meta.url));
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' };
export const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/**
 * @param {{state?: string, key?: string | null, port?: number}} [options]
 */
export async function start({ state = 'valid', key = null, port = 0 } = {}) {
  /** @type {Set<import('node:http').ServerResponse>} */
  const streams = new Set();
  /** @type {string[]} */
  const asked = [];
  const mock = { state, key, full: false, draining: false, silent: false, ending: false, asked, open: () => streams.size, origin: '', send, end, close, document: () => pageOf(mock.state, Date.now(), mock.origin) };
  const server = createServer((request, response) => answer(request, response).catch((error) => response.writeHead(500).end(String(error))));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  mock.origin = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  return mock;

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
  async function answer(request, response) {
    const { pathname } = new URL(request.url ?? '/', 'http://mock');
    asked.push(`${request.method} ${pathname}`);
    if (pathname === '/' || pathname.startsWith('/assets/')) return asset(pathname === '/' ? 'index.html' : pathname.slice(8), response);
    if (mock.key !== null && request.headers.authorization !== `Bearer ${mock.key}`) return problem(response, 401, 'admin-key-required', 'The request must carry admin.key.');
    switch (`${request.method} ${pathname}`) {
      case 'GET /events':
        if (mock.draining) return problem(response, 503, 'draining', 'The proxy is draining.');
        if (mock.silent) return;
        if (mock.full) return problem(response, 503, 'too-many-streams', 'Eight event streams are open.');
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        response.write(event('page', mock.document()));
        if (mock.ending) return response.end();
        streams.add(response);
        response.on('close', () => streams.delete(response));
        return;
      case 'GET /config':
        return json(response, 200, [
          { key: 'oauth.client_secret', value: '***', source: 'environment BEARER_PROXY_OAUTH__CLIENT_SECRET_FILE' },
          { key: 'refresh.margin', value: '20%', source: 'default' },
        ]);
      case 'POST /refresh':
        return mock.state === 'valid' ? json(response, 200, mock.document().status) : problem(response, 503, 'refresh-failed', 'The token endpoint answered 503.');
      case 'POST /drain':
        mock.state = 'draining';
        json(response, 202, { draining: true });
        return send('page', mock.document());
      case 'POST /login':
        return json(response, 200, { authorize_url: `${mock.origin}/authorize`, expires_at: new Date(Date.now() + 600_000).toISOString(), callback: mock.document().login.callback_origin !== null });
      case 'GET /authorize':
        return response.writeHead(303, { location: '/callback?code=1' }).end();
      case 'GET /callback':
        mock.state = 'valid';
        return response.writeHead(303, { location: '/' }).end();
      case 'POST /login/code':
        return problem(response, 400, 'login-failed', 'The pasted text has no code. Paste the whole address.');
      default:
        return problem(response, 404, 'not-found', 'This path does not exist.');
    }
  }

  /** To all streams. @param {string} name @param {unknown} data */
  function send(name, data) {
    for (const stream of streams) stream.write(event(name, data));
  }

  /** Ends all streams, as the listener does before a connection is too old. */
  function end() {
    for (const stream of streams) stream.end();
  }

  async function close() {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }
}

/** @param {string} name @param {import('node:http').ServerResponse} response */
async function asset(name, response) {
  const type = TYPES[/** @type {keyof typeof TYPES} */ (name.split('.').at(-1) ?? '')];
  if (!type || name.includes('/')) return response.writeHead(404).end();
  const body = await readFile(ASSETS + name);
  response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': CSP, 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' }).end(body);
}

/** @param {string} name @param {unknown} data */
function event(name, data) {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** @param {import('node:http').ServerResponse} response @param {number} status @param {unknown} document */
function json(response, status, document) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(document));
}

/** @param {import('node:http').ServerResponse} response @param {number} status @param {string} kind @param {string} detail */
function problem(response, status, kind, detail) {
  response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify({ type: `urn:bearer-proxy:${kind}`, status, detail }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { origin } = await start({ state: process.argv[2] ?? 'valid', key: process.argv[3] ?? null, port: 9911 });
  console.log(origin);
}

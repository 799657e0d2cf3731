// The built program, and its simulator: the one that `demo` starts.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = process.env['PROGRAM'] ?? '';
const CLIENT_ID = '9f1c2e64-5b0a-4c1b-9d7e-3f6a8b2c4d10';
const CLIENT_SECRET = 'sim-secret-4TqVw8ZkRr2mYc6N';
export const KEY = 'a-key-of-the-page-test-that-is-long-enough';

/** Nothing outlives the tests, even if a hook fails. @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** @param {string[]} args @param {Record<string, string>} env */
function run(args, env) {
  assert.ok(PROGRAM, 'PROGRAM names no program');
  const child = spawn(PROGRAM, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { text += chunk; child.emit('said'); });
  const ended = once(child, 'close');
  return {
    child,
    ended,
    said: () => text,
    /** Waits until the program has printed `pattern`. @param {RegExp} pattern */
    async says(pattern) {
      for (;;) {
        const found = text.match(pattern);
        if (found) return found;
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`never ${pattern}:\n${text}`);
        await Promise.race([once(child, 'said'), ended]);
      }
    },
    async stop(/** @type {NodeJS.Signals} */ signal = 'SIGTERM') {
      child.kill(signal);
      await ended;
    },
  };
}

/** An authorization server and an API like Passolution's. */
export async function simulator() {
  const demo = run(['demo'], { PATH: process.env['PATH'] ?? '', TMPDIR: tmpdir() });
  const [, origin] = await demo.says(/run at (http:\S+[^.\s])\.? /);
  await demo.says(/Press Ctrl-C/);
  /** @param {string} method @param {string} path @param {unknown} [body] */
  const control = async (method, path, body) => {
    const response = await fetch(`${origin}/_sim/${path}`, { method, body: body === undefined ? null : JSON.stringify(body) });
    const text = await response.text();
    assert.ok(response.ok, `${path}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  };
  return { origin: /** @type {string} */ (origin), control, stop: demo.stop };
}

/** A free port. The program takes it again after a restart. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * A proxy in front of the simulator, with a grant unless `grant` is false.
 * @param {Awaited<ReturnType<typeof simulator>>} sim
 * @param {{key?: string | null, grant?: boolean, set?: Record<string, string>}} [options]
 */
export async function proxy(sim, { key = null, grant = true, set = {} } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'page-test-'));
  mkdirSync(join(folder, 'store'), { mode: 0o700 });
  const port = await freePort();
  const first = grant ? { OAUTH__REFRESH_TOKEN: (await sim.control('POST', 'grant')).refresh_token } : {};
  const settings = {
    LISTEN: '127.0.0.1:0',
    ADMIN__LISTEN: `127.0.0.1:${port}`,
    LOG__FORMAT: 'json',
    UPSTREAM__URL: sim.origin,
    OAUTH__AUTHORIZE_URL: `${sim.origin}/oauth/authorize`,
    OAUTH__TOKEN_URL: `${sim.origin}/oauth/token`,
    OAUTH__CLIENT_ID: CLIENT_ID,
    OAUTH__CLIENT_SECRET: CLIENT_SECRET,
    STORE__PATH: join(folder, 'store', 'grant.json'),
    ...(key === null ? {} : { ADMIN__KEY: key }),
    ...first,
    ...set,
  };
  const env = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`BEARER_PROXY_${name}`, value]));
  const started = {
    origin: `http://127.0.0.1:${port}`,
    port,
    folder,
    /** Where requests go. */
    listen: '',
    process: run(['serve'], env),
    /** @param {string} path @param {RequestInit} [init] */
    ask(path, init = {}) {
      return fetch(started.origin + path, { ...init, headers: key === null ? {} : { authorization: `Bearer ${key}` } });
    },
    async status() {
      return (await started.ask('/status')).json();
    },
    async again() {
      started.process = run(['serve'], env);
      await ready();
    },
    async stop() {
      await started.process.stop('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await ready();
  return started;

  async function ready() {
    // The log of the listener for requests comes last.
    const [, address] = await started.process.says(/"address":"?([\d.]+:\d+)"?[^\n]*"upstream"|"upstream"[^\n]*"address":"?([\d.]+:\d+)/);
    started.listen = `http://${address}`;
  }
}

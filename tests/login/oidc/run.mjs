// Logs in through the loopback redirect and by paste, with form and Basic credentials, then rotates while requests run.
//
//   node run.mjs PROGRAM        ROTATIONS=3600

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLIENT_ID, CLIENT_SECRET, start } from './server.mjs';

const program = process.argv[2];
const rotations = Number(process.env.ROTATIONS ?? 100);

function environment(server, folder, auth) {
  const set = {
    PROFILE: 'custom',
    LISTEN: '127.0.0.1:0',
    ADMIN__LISTEN: '127.0.0.1:0',
    LOG__FORMAT: 'json',
    UPSTREAM__URL: server.origin,
    OAUTH__AUTHORIZE_URL: `${server.origin}/auth`,
    OAUTH__TOKEN_URL: `${server.origin}/token`,
    OAUTH__CLIENT_ID: CLIENT_ID,
    OAUTH__CLIENT_SECRET: CLIENT_SECRET,
    OAUTH__CLIENT_AUTH: auth,
    OAUTH__SCOPE: 'openid offline_access',
    OAUTH__AUTHORIZE_PARAMETERS: '{ prompt = "consent" }',
    REFRESH__MAX_PER_HOUR: '100000',
    STORE__PATH: join(folder, 'grant.json'),
  };
  return Object.fromEntries(Object.entries(set).map(([key, value]) => [`BEARER_PROXY_${key}`, value]));
}

// Starts the program, and gathers what it prints on standard error.
function run(arguments_, env) {
  const child = spawn(program, arguments_, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const started = { child, text: '', out: '' };
  child.stdout.on('data', (chunk) => { started.out += chunk; });
  child.stderr.on('data', (chunk) => { started.text += chunk; child.emit('text'); });
  started.ended = new Promise((resolve) => child.on('close', resolve));
  started.says = async (pattern) => {
    for (;;) {
      const found = started.text.match(pattern);
      if (found) return found;
      const more = await Promise.race([new Promise((resolve) => child.once('text', () => resolve(true))), started.ended.then(() => false)]);
      if (!more && !started.text.match(pattern)) throw new Error(`never ${pattern}:\n${started.text}`);
    }
  };
  return started;
}

// A browser with cookies. Gives back the URL of the callback.
async function browse(url) {
  const cookies = new Map();
  for (let hops = 0; hops < 20; hops += 1) {
    if (new URL(url).pathname === '/callback') return url;
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: cookie ? { cookie } : {} });
    for (const set of response.headers.getSetCookie()) {
      const [name, value] = set.split(';')[0].split(/=(.*)/s);
      cookies.set(name, value);
    }
    assert.ok(response.status >= 300 && response.status < 400, `${response.status} ${await response.text()}`);
    url = new URL(response.headers.get('location'), url).href;
  }
  throw new Error('the server redirects without an end');
}

async function logIn(env, way) {
  const login = run(way === 'paste' ? ['login', '--paste'] : ['login'], env);
  const [url] = await login.says(/http:\/\/\S+\/auth\?\S+/);
  const callback = await browse(url);
  if (way === 'paste') {
    login.child.stdin.write(`${callback}\n`);
  } else {
    const page = await fetch(callback);
    assert.equal(page.status, 200, await page.text());
  }
  assert.equal(await login.ended, 0, login.text);
  assert.match(login.out, /stored as generation \d+/);
}

// Revokes the access token again and again while requests run. Each gets an answer.
async function rotate(server, env) {
  const proxy = run(['serve'], env);
  await proxy.says(/"listening"/);
  const lines = proxy.text.split('\n').filter((line) => line.includes('"listening"')).map((line) => JSON.parse(line));
  const { address } = lines.map((line) => line.fields ?? line).find((fields) => fields.message === 'listening');
  let answered = 0;
  for (let count = 0; count < rotations; count += 1) {
    await server.ledger.live.destroy();
    const answers = await Promise.all([1, 2, 3].map(() => fetch(`http://${address}/api/x`)));
    for (const answer of answers) {
      assert.equal(answer.status, 200, `after ${count} rotations`);
      answered += 1;
    }
  }
  proxy.child.kill('SIGTERM');
  assert.equal(await proxy.ended, 0, proxy.text);
  return answered;
}

for (const [auth, method] of [['body', 'client_secret_post'], ['basic', 'client_secret_basic']]) {
  const server = await start(method);
  const folder = mkdtempSync(join(tmpdir(), 'login-'));
  const env = environment(server, folder, auth);
  await logIn(env, 'loopback');
  await logIn(env, 'paste');
  const answered = await rotate(server, env);
  const { presented, twice } = server.ledger;
  assert.equal(twice, 0, 'a refresh token was presented twice');
  assert.ok(presented.length >= rotations, `${presented.length} rotations`);
  console.log(`${method}: login by loopback and by paste, ${presented.length} rotations, ${answered} requests answered, no token presented twice`);
  server.close();
  rmSync(folder, { recursive: true });
}
process.exit(0);

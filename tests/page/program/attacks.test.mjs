// What a page of somebody else, and a second service on this machine, try in a person's browser. None of it may succeed.
//
// The proxy has no key here where that is possible: with a key, each attack would fail for that reason alone.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch, says, tab } from '../browser.mjs';
import { KEY, proxy, simulator } from '../program.mjs';

/** @typedef {import('playwright-core').Page} Page */

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof simulator>>} */
let sim;
/** The proxy without a key, and one with a key. @type {Awaited<ReturnType<typeof proxy>>} */
let open;
/** @type {Awaited<ReturnType<typeof proxy>>} */
let locked;
/** @type {import('node:http').Server} */
let evil;
/** Another port of this machine, which is another origin of the same site. */
let neighbour = '';
/** A page of the internet, whose name leads to this machine. */
let foreign = '';
/** What the attacker's server was sent. @type {string[]} */
let stolen = [];

before(async () => {
  [browser, sim] = await Promise.all([launch(['--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebind.test 127.0.0.1']), simulator()]);
  [open, locked] = await Promise.all([proxy(sim), proxy(sim, { key: KEY })]);
  evil = createServer((request, response) => {
    stolen.push(request.url ?? '');
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://evil');
    // Cookies do not know ports, so a neighbour can overwrite those of the proxy.
    if (pathname === '/cookie') {
      response.setHeader('set-cookie', [`${searchParams.get('name')}=${searchParams.get('value')}; Path=/callback`, `${searchParams.get('name')}=${searchParams.get('value')}; Path=/`]);
    }
    response.setHeader('content-type', 'text/html').end('<!doctype html><title>evil</title><body>');
  });
  evil.listen(0, '127.0.0.1');
  await once(evil, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (evil.address());
  [neighbour, foreign] = [`http://127.0.0.1:${port}`, `http://evil.test:${port}`];
});
after(async () => {
  await browser.close();
  await Promise.all([open.stop(), locked.stop()]);
  evil.close();
  evil.closeAllConnections();
  await sim.stop();
});

/**
 * Runs `attack` on a page of the neighbour and on one of the internet.
 * @param {string} name @param {(page: Page, origin: string) => Promise<void>} attack
 */
function from(name, attack) {
  for (const [who, origin] of /** @type {const} */ ([['another port', () => neighbour], ['the internet', () => foreign]])) {
    test(`${name}, from ${who}`, async () => {
      const { page, context } = await tab(browser);
      await page.goto(origin());
      const before = await open.status();
      await attack(page, origin());
      const now = await open.status();
      assert.deepEqual([now.generation, now.draining], [before.generation, before.draining], 'the grant is as it was');
      await context.close();
    });
  }
}

/** The status of each response of the proxy that the browser receives. @param {Page} page */
function responses(page) {
  /** @type {Map<string, number>} */
  const found = new Map();
  page.on('response', (response) => {
    const { origin, pathname } = new URL(response.url());
    if (origin === open.origin || origin === locked.origin) found.set(`${response.request().method()} ${pathname}`, response.status());
  });
  return found;
}

from('status, events, metrics and configuration cannot be read', async (page) => {
  const found = responses(page);
  for (const path of ['/status', '/events', '/config', '/metrics', '/readyz']) {
    for (const mode of ['cors', 'no-cors']) {
      const read = await page.evaluate(async ([url, mode]) => {
        try {
          const response = await fetch(/** @type {string} */ (url), { mode: /** @type {RequestMode} */ (mode), credentials: 'include' });
          return await response.text();
        } catch {
          return '';
        }
      }, [open.origin + path, mode]);
      assert.equal(read, '', `${path} with ${mode}`);
    }
    assert.equal(found.get(`GET ${path}`), 403, path);
  }
  const source = await page.evaluate((url) => new Promise((resolve) => {
    const events = new EventSource(url);
    events.onmessage = events.onopen = () => resolve('open');
    events.onerror = () => resolve('error');
  }), `${open.origin}/events`);
  assert.equal(source, 'error');
});

from('status cannot be read as a script, an image or a style', async (page) => {
  const loaded = await page.evaluate((url) => Promise.all(['script', 'img', 'link'].map((tag) => new Promise((resolve) => {
    const element = document.createElement(tag);
    element.onload = () => resolve('loaded');
    element.onerror = () => resolve('error');
    if (element instanceof HTMLLinkElement) Object.assign(element, { rel: 'stylesheet', href: url });
    else /** @type {HTMLImageElement} */ (element).src = url;
    document.body.append(element);
  }))), `${open.origin}/status`);
  // The browser hides such a response even from its own tools, so only the failure can be seen.
  assert.deepEqual(loaded, ['error', 'error', 'error']);
});

from('refresh, drain and login cannot be started by fetch', async (page) => {
  const found = responses(page);
  for (const path of ['/refresh', '/drain', '/login', '/login/code']) {
    await page.evaluate((url) => fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"input":"x"}' }).catch(() => {}), open.origin + path);
    assert.equal(found.get(`POST ${path}`), 403, path);
  }
});

from('refresh, drain and login cannot be started by a form', async (page, origin) => {
  for (const path of ['/refresh', '/drain', '/login']) {
    const answered = page.waitForResponse((response) => response.url() === open.origin + path);
    await page.evaluate((url) => {
      const form = document.createElement('form');
      Object.assign(form, { method: 'post', action: url });
      document.body.append(form);
      form.submit();
    }, open.origin + path);
    assert.equal((await answered).status(), 403, path);
    await page.waitForURL(open.origin + path);
    await page.goto(origin);
  }
});

from('the page cannot be framed', async (page) => {
  await page.evaluate((url) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.onload = resolve;
    frame.src = url;
    document.body.append(frame);
  }), `${open.origin}/`);
  const framed = page.frames()[1];
  assert.ok(framed);
  assert.equal(await framed.locator('#word').count(), 0, 'the frame shows the page');
});

from('an opener keeps no hold on the page', async (page) => {
  const opened = page.context().waitForEvent('page');
  await page.evaluate((url) => { /** @type {any} */ (globalThis).victim = open(url); }, `${open.origin}/`);
  const victim = await opened;
  await says(victim, 'Valid');
  assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).victim.closed), true, 'the opener still holds the window');
  assert.equal(await victim.evaluate(() => opener), null);
});

from('a link to the page starts no login', async (page) => {
  const found = responses(page);
  await page.evaluate((url) => { location.href = url; }, `${open.origin}/#login`);
  await says(page, 'Valid');
  await page.waitForTimeout(500);
  assert.ok(!found.has('POST /login'));
});

test('a name that is rebound to this machine is refused', async () => {
  const { page, context } = await tab(browser);
  for (const path of ['/', '/status', '/events']) {
    const response = await page.goto(`http://rebind.test:${open.port}${path}`);
    assert.equal(response?.status(), 421, path);
    assert.doesNotMatch((await response?.text()) ?? '', /generation/);
  }
  await context.close();
});

/** A page that has its key, and a started login. @param {Page} page */
async function withKey(page) {
  await page.goto(locked.origin);
  await says(page, 'Key needed');
  await page.getByLabel('Admin key').fill(KEY);
  await page.keyboard.press('Enter');
  await says(page, 'Valid');
}

/** Logs in, and gives back the address of the callback before the browser goes there. @param {Page} page */
async function logInUntilCallback(page) {
  /** @type {Promise<string>} */
  const callback = new Promise((resolve) => {
    // The person agrees at the server, and the browser stays where it is.
    page.route('**/oauth/authorize?**', async (route) => {
      const answer = await fetch(route.request().url(), { redirect: 'manual' });
      await route.fulfill({ status: 204 });
      resolve(answer.headers.get('location') ?? '');
    });
  });
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'Continue to the login page' }).click();
  const url = await callback;
  assert.ok(url.startsWith(`${locked.origin}/callback?`), url);
  return url;
}

test('a login of somebody else cannot be ended in a browser: its state is not this browser’s', async () => {
  const attacker = await tab(browser);
  await withKey(attacker.page);
  const url = await logInUntilCallback(attacker.page);
  const before = (await locked.status()).generation;
  const victim = await tab(browser);
  await victim.page.goto(foreign);
  const answered = victim.page.waitForResponse((response) => response.url().startsWith(`${locked.origin}/callback`));
  await victim.page.evaluate((url) => { location.href = url; }, url);
  assert.equal((await answered).status(), 400);
  assert.equal((await locked.status()).generation, before);
  await victim.context.close();
  await attacker.context.close();
});

test('an invented callback changes nothing, with and without a key', async () => {
  const { page, context } = await tab(browser);
  for (const at of [open, locked]) {
    const before = (await at.status()).generation;
    await page.goto(foreign);
    const answered = page.waitForResponse((response) => response.url().startsWith(`${at.origin}/callback`));
    await page.evaluate((url) => { location.href = url; }, `${at.origin}/callback?code=invented&state=invented`);
    assert.equal((await answered).status(), 400);
    await page.waitForURL(`${at.origin}/callback**`);
    assert.equal((await at.status()).generation, before);
  }
  await context.close();
});

test('a login is not ended with a cookie that a neighbour has overwritten', async () => {
  const { page, context } = await tab(browser);
  await withKey(page);
  const url = await logInUntilCallback(page);
  const before = (await locked.status()).generation;
  const other = await context.newPage();
  await other.goto(`${neighbour}/cookie?name=bp_login_${locked.port}&value=fixed`);
  const response = await other.goto(url);
  assert.equal(response?.status(), 400);
  assert.equal((await locked.status()).generation, before);
  await context.close();
});

test('a login that a neighbour prepared with a cookie of its own still ends with the person’s own', async () => {
  const { page, context } = await tab(browser);
  const other = await context.newPage();
  await other.goto(`${neighbour}/cookie?name=bp_login_${locked.port}&value=fixed`);
  await withKey(page);
  const url = await logInUntilCallback(page);
  const cookies = (await context.cookies(`${locked.origin}/callback`)).filter(({ name }) => name === `bp_login_${locked.port}`);
  assert.ok(cookies.some(({ value, path, httpOnly, sameSite }) => value !== 'fixed' && path === '/callback' && httpOnly && sameSite === 'Lax'), JSON.stringify(cookies));
  // Two cookies of one name are ambiguous: the login may fail, but no other login may succeed.
  const before = (await locked.status()).generation;
  const response = await page.goto(url);
  if (response?.status() === 400) {
    assert.equal((await locked.status()).generation, before);
  } else {
    await page.getByText('The new grant is in use.').waitFor();
    await page.getByText(`generation ${before + 1}`).waitFor();
  }
  await context.close();
});

test('a callback is accepted once', async () => {
  const { page, context } = await tab(browser);
  await withKey(page);
  const url = await logInUntilCallback(page);
  await page.goto(url);
  await says(page, 'Valid');
  const { generation } = await locked.status();
  const response = await page.goto(url);
  assert.equal(response?.status(), 400);
  assert.equal((await locked.status()).generation, generation);
  await context.close();
});

test('no code, state or key reaches another server by Referer, and no cookie holds the key', async () => {
  const { page, context } = await tab(browser);
  stolen = [];
  await withKey(page);
  const referers = /** @type {string[]} */ ([]);
  page.on('request', (request) => referers.push(request.headers()['referer'] ?? ''));
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'Continue to the login page' }).click();
  await page.getByText('The new grant is in use.').waitFor();
  assert.ok(referers.every((referer) => !/code=|state=/.test(referer)), referers.join());
  const kept = JSON.stringify(await context.cookies());
  assert.ok(!kept.includes(KEY));
  assert.deepEqual(stolen, []);
  await context.close();
});

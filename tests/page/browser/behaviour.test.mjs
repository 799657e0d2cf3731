// What the page does when the proxy answers, is silent, ends or asks for its key. The mock server is the proxy.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { launch, quiet, says, tab } from '../browser.mjs';
import { start } from '../mock.mjs';
import { pageOf } from '../states.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {(() => Promise<unknown>)[]} */
let opened = [];

before(async () => { browser = await launch(); });
after(() => browser.close());
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

/** @param {Parameters<typeof start>[0]} options @param {Parameters<typeof tab>[1]} [how] */
async function open(options, how) {
  const mock = await start(options);
  const { page, context, complaints } = await tab(browser, how);
  opened.push(() => context.close(), () => mock.close().catch(() => {}));
  await page.goto(mock.origin);
  return { mock, page, context, complaints };
}

/**
 * Watches the text of an element until it is `last`. Returns a function that gives all texts since then.
 * @param {import('playwright-core').Page} page @param {string} id @param {string} last
 */
async function watch(page, id, last) {
  await page.evaluate(([id, last]) => {
    const element = /** @type {HTMLElement} */ (document.getElementById(id ?? ''));
    /** @type {(string | null)[]} */
    const seen = [];
    /** @type {any} */ (globalThis).watched = new Promise((resolve) => {
      new MutationObserver(() => {
        seen.push(element.textContent);
        if (element.textContent === last) resolve(seen);
      }).observe(element, { childList: true, characterData: true, subtree: true });
    });
  }, [id, last]);
  return () => page.evaluate(() => /** @type {any} */ (globalThis).watched);
}

test('a restart of the proxy is survived, and figures are never shown as current meanwhile', async () => {
  const { mock, page } = await open({});
  await says(page, 'Valid');
  const { port } = new URL(mock.origin);
  await mock.close();
  await says(page, 'No connection');
  assert.match(await page.locator('#line').innerText(), /The figures below are from \d\d:\d\d:\d\d/);
  assert.match(await page.locator('#traffic-title').innerText(), /from \d\d:\d\d:\d\d/);
  assert.doesNotMatch(await page.locator('#charts').innerText(), /now/);
  assert.equal(await page.locator('#refresh').getAttribute('aria-disabled'), 'true');
  // A failed attempt does not make the figures current, not even for a moment.
  const words = await watch(page, 'word', 'Expired');
  const began = Date.now();
  const again = await start({ state: 'expired', port: Number(port) });
  opened.push(() => again.close());
  await says(page, 'Expired');
  assert.ok(Date.now() - began < 8_000, 'the page comes back within its longest pause');
  assert.deepEqual(await words(), ['Expired']);
  assert.equal(await page.locator('#traffic-title').innerText(), 'Requests of the last hour');
});

test('a stream that the proxy ends is opened again at once, without a word', async () => {
  const { mock, page, complaints } = await open({});
  await says(page, 'Valid');
  await page.waitForTimeout(2_100);
  mock.state = 'expired';
  const words = await watch(page, 'word', 'Expired');
  mock.end();
  assert.deepEqual(await words(), ['Expired']);
  quiet(complaints);
});

test('a silent proxy is stale after 25 s', async () => {
  const { mock, page } = await open({});
  await page.clock.install();
  await page.reload();
  await says(page, 'Valid');
  mock.silent = true;
  await page.clock.runFor(24_000);
  assert.equal(await page.locator('#word').innerText(), 'Valid');
  await page.clock.runFor(3_000);
  assert.equal(await page.locator('#word').innerText(), 'No connection');
  // The page gives the silent stream up by itself.
  mock.silent = false;
  await page.clock.runFor(31_000);
  await says(page, 'Valid');
});

test('a proxy that ends each stream at once is asked once a second', async () => {
  const { mock, page } = await open({});
  await says(page, 'Valid');
  mock.ending = true;
  mock.end();
  await page.waitForTimeout(3_000);
  const asked = mock.asked.filter((path) => path === 'GET /events').length;
  assert.ok(asked >= 3 && asked <= 6, String(asked));
});

test('the ninth page says why it shows nothing, and continues by itself', async () => {
  const { mock, page } = await open({});
  mock.full = true;
  await page.reload();
  await says(page, 'Too many pages');
  mock.full = false;
  await says(page, 'Valid');
});

test('a page that is hidden holds no stream, and continues when it is seen', async () => {
  const { mock, page } = await open({});
  await says(page, 'Valid');
  const hide = (/** @type {boolean} */ hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  const before = mock.asked.length;
  mock.state = 'expired';
  await page.waitForTimeout(1_500);
  assert.equal(mock.asked.length, before);
  assert.equal(mock.open(), 0);
  await hide(false);
  await says(page, 'Expired');
});

test('the key is asked for, refused, accepted, kept for the tab, and in no cookie', async () => {
  const { mock, page, context } = await open({ key: 'right' });
  await says(page, 'Key needed');
  assert.equal(await page.locator('#figures').isVisible(), false);
  await page.getByLabel('Admin key').fill('wrong');
  await page.keyboard.press('Enter');
  await says(page, 'Wrong key');
  await page.getByLabel('Admin key').fill('schlüssel');
  await page.keyboard.press('Enter');
  await says(page, 'Wrong key');
  await page.getByLabel('Admin key').fill('right');
  await page.keyboard.press('Enter');
  await says(page, 'Valid');
  await page.reload();
  await says(page, 'Valid');
  assert.deepEqual(await context.cookies(), []);
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  // A changed key hides what was shown.
  mock.key = 'another';
  mock.end();
  await says(page, 'Wrong key');
  assert.equal(await page.locator('#figures').isVisible(), false);
});

test('a failed refresh and a started one say what happened', async () => {
  const { mock, page } = await open({});
  await says(page, 'Valid');
  await page.getByRole('button', { name: 'Refresh' }).click();
  await page.getByText('Refreshed: generation 41.').waitFor();
  mock.state = 'expired';
  mock.send('page', mock.document());
  await says(page, 'Expired');
  await page.getByRole('button', { name: 'Refresh' }).click();
  await page.getByText('The token endpoint answered 503.').waitFor();
});

test('a drain asks first, and a drained proxy is stopped, not broken', async () => {
  const { mock, page } = await open({});
  await says(page, 'Valid');
  await page.getByRole('button', { name: 'Drain' }).click();
  await page.getByRole('button', { name: 'Keep it running' }).click();
  assert.ok(!mock.asked.includes('POST /drain'));
  await page.getByRole('button', { name: 'Drain' }).click();
  await page.getByRole('button', { name: 'Drain and stop' }).click();
  await says(page, 'Draining');
  mock.draining = true;
  mock.end();
  await page.waitForTimeout(2_500);
  await says(page, 'Draining');
  // One attempt a second: a drain is not flooded.
  assert.ok(mock.asked.filter((path) => path === 'GET /events').length <= 5, mock.asked.join());
  await mock.close();
  await says(page, 'Stopped');
});

test('a state is announced once, and not with each second', async () => {
  const { mock, page } = await open({ state: 'expired' });
  await says(page, 'Expired');
  const heard = await watch(page, 'announce', 'Valid. Nothing to do.');
  for (let i = 0; i < 3; i += 1) {
    await page.waitForTimeout(1_100);
    mock.send('page', mock.document());
  }
  mock.state = 'valid';
  mock.send('page', mock.document());
  assert.deepEqual(await heard(), ['Valid. Nothing to do.']);
});

test('a text of the proxy is never markup', async () => {
  const { mock, page, complaints } = await open({});
  await says(page, 'Valid');
  const evil = '<img src=x onerror=alert(1)><b>bold</b>';
  const document = /** @type {any} */ (pageOf('needs-login'));
  document.status.reason = evil;
  document.status.profile = evil;
  document.status.last_refresh = null;
  document.problems[0].message = evil;
  document.problems[0].doc = 'javascript:alert(1)';
  document.refreshes[0].error = evil;
  mock.send('page', document);
  await says(page, 'Needs a login');
  assert.ok((await page.locator('#line').innerText()).startsWith('<img'));
  assert.equal(await page.locator('main img, main b:not(.values b), main a[href^=javascript]').count(), 0);
  quiet(complaints);
});

test('a page that moved here to log in only opens the dialog', async () => {
  const { mock, page } = await open({ state: 'needs-login' });
  await page.goto(`${mock.origin}/#login`);
  await page.reload();
  await page.locator('#login-dialog[open]').waitFor();
  assert.equal(new URL(page.url()).hash, '');
});

test('a page at another origin than the redirect moves there first', async () => {
  const { mock, page } = await open({});
  await page.goto(mock.origin.replace('127.0.0.1', 'localhost'));
  await says(page, 'Valid');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: `Continue at ${new URL(mock.origin).host}` }).click();
  await page.waitForURL(`${mock.origin}/`);
  await page.locator('#login-dialog[open]').waitFor();
  assert.ok(!mock.asked.includes('POST /login'), 'nothing has begun without a click here');
});

test('a login by pasting shows its failure', async () => {
  const { page } = await open({ state: 'needs-login' });
  await says(page, 'Needs a login');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.locator('#paste-link[href]').waitFor();
  await page.getByRole('button', { name: 'Finish the login' }).click();
  await page.getByText('Paste the address or the code first.').waitFor();
  await page.getByLabel('Paste that address').fill('nonsense');
  await page.getByRole('button', { name: 'Finish the login' }).click();
  await page.getByText('The pasted text has no code. Paste the whole address.').waitFor();
});

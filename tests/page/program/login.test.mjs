// A login in the browser, by the redirect and by pasting, with the built program.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, quiet, says, tab } from '../browser.mjs';
import { KEY, proxy, simulator } from '../program.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof simulator>>} */
let sim;

before(async () => { [browser, sim] = await Promise.all([launch(), simulator()]); });
after(async () => {
  await browser.close();
  await sim.stop();
});

/** A page that has its key. @param {Record<string, string>} [set] @param {string} [host] */
async function open(set = {}, host = '127.0.0.1') {
  const at = await proxy(sim, { key: KEY, grant: false, set });
  const { page, context, complaints } = await tab(browser);
  await page.goto(at.origin.replace('127.0.0.1', host));
  await enterKey(page);
  await says(page, 'No login yet');
  return { at, page, context, complaints };
}

/** @param {import('playwright-core').Page} page */
async function enterKey(page) {
  await says(page, 'Key needed');
  await page.getByLabel('Admin key').fill(KEY);
  await page.keyboard.press('Enter');
}

test('by clicking', async () => {
  const { at, page, context, complaints } = await open();
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'Continue to the login page' }).click();
  await says(page, 'Valid');
  await page.getByText('The new grant is in use.').waitFor();
  assert.equal(page.url(), `${at.origin}/`, 'no code stays in the address');
  assert.equal((await at.status()).state, 'valid');
  assert.equal((await fetch(`${at.listen}/api/v2/version`)).status, 200);
  quiet(complaints, /401/);
  await context.close();
  await at.stop();
});

test('by clicking, from another name of this host', async () => {
  const { at, page, context } = await open({}, 'localhost');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: `Continue at 127.0.0.1:${at.port}` }).click();
  // Another origin has another session.
  await page.waitForURL(`${at.origin}/**`);
  await enterKey(page);
  await page.getByRole('button', { name: 'Continue to the login page' }).click();
  await says(page, 'Valid');
  await context.close();
  await at.stop();
});

test('by pasting, if the redirect leads elsewhere', async () => {
  const { at, page, context, complaints } = await open({ OAUTH__REDIRECT_URI: 'https://app.example/callback' });
  await context.route('https://app.example/**', (route) => route.fulfill({ body: 'no such page' }));
  await page.getByRole('button', { name: 'Log in' }).click();
  const opened = context.waitForEvent('page');
  await page.getByRole('link', { name: 'Open the login page' }).click();
  const other = await opened;
  await other.waitForURL('https://app.example/**');
  await page.getByLabel('Paste that address').fill(other.url());
  await page.getByRole('button', { name: 'Finish the login' }).click();
  await says(page, 'Valid');
  assert.equal(await page.locator('#login-dialog[open]').count(), 0);
  quiet(complaints, /401/);
  await context.close();
  await at.stop();
});

test('a pasted text that is no code is refused with its reason, and the right one is still accepted', async () => {
  const { at, page, context } = await open({ OAUTH__REDIRECT_URI: 'https://app.example/callback' });
  await context.route('https://app.example/**', (route) => route.fulfill({ body: 'no such page' }));
  await page.getByRole('button', { name: 'Log in' }).click();
  const opened = context.waitForEvent('page');
  await page.getByRole('link', { name: 'Open the login page' }).click();
  const other = await opened;
  await other.waitForURL('https://app.example/**');
  await page.getByLabel('Paste that address').fill('https://app.example/callback?error=nothing');
  await page.getByRole('button', { name: 'Finish the login' }).click();
  await page.waitForFunction(() => document.getElementById('login-error')?.textContent !== '');
  await page.getByLabel('Paste that address').fill(other.url());
  await page.getByRole('button', { name: 'Finish the login' }).click();
  await says(page, 'Valid');
  await context.close();
  await at.stop();
});

test('a denied login says so, and changes nothing', async () => {
  const { at, page, context } = await open();
  await sim.control('POST', 'fault', { on: 'authorize', at: 'before_body', act: { error: 'access_denied' } });
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('button', { name: 'Continue to the login page' }).click();
  await page.getByText('The login failed').waitFor();
  assert.match(await page.locator('#result').innerText(), /access_denied/);
  await says(page, 'No login yet');
  await context.close();
  await at.stop();
  await sim.control('DELETE', 'fault');
});

test('by keyboard alone', async () => {
  const { at, page, context } = await open();
  const reach = async (/** @type {string} */ id) => {
    for (let i = 0; i < 20; i += 1) {
      if ((await page.evaluate(() => document.activeElement?.id)) === id) return page.keyboard.press('Enter');
      await page.keyboard.press('Tab');
    }
    throw new Error(`Tab never reached ${id}`);
  };
  await reach('login');
  await reach('login-go');
  await says(page, 'Valid');
  await context.close();
  await at.stop();
});

// The states that the built program can be brought into, as the page shows them.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { axe, launch, quiet, says, tab } from '../browser.mjs';
import { findings } from '../layout.mjs';
import { KEY, proxy, simulator } from '../program.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof simulator>>} */
let sim;

before(async () => { [browser, sim] = await Promise.all([launch(), simulator()]); });
afterEach(() => sim.control('DELETE', 'fault'));
after(async () => {
  await browser.close();
  await sim.stop();
});

/**
 * @param {string} name @param {Parameters<typeof proxy>[1]} options
 * @param {(at: Awaited<ReturnType<typeof proxy>>, page: import('playwright-core').Page) => Promise<void>} body
 */
function shows(name, options, body) {
  test(name, async () => {
    const at = await proxy(sim, options);
    const { page, context, complaints } = await tab(browser);
    try {
      await page.goto(at.origin);
      await body(at, page);
      assert.deepEqual(await page.evaluate(findings), []);
      assert.deepEqual(await axe(page), []);
      quiet(complaints, /Failed to load resource|ERR_/);
    } finally {
      await context.close();
      await at.stop();
    }
  });
}

const token = (/** @type {unknown} */ act, at = 'before_commit', times = /** @type {number | null} */ (null)) => sim.control('POST', 'fault', { on: 'token', at, act, times });

shows('valid, with the requests of a moment ago', {}, async (at, page) => {
  await says(page, 'Valid');
  await page.getByText('No requests yet.').waitFor();
  assert.match(await page.locator('#charts').innerText(), new RegExp(`instead of ${sim.origin}`));
  for (let i = 0; i < 20; i += 1) assert.equal((await fetch(`${at.listen}/api/v2/version`)).status, 200);
  await page.getByRole('heading', { name: 'Requests per second' }).waitFor({ timeout: 15_000 });
  assert.equal(await page.locator('#refreshes tbody tr').count(), 1);
  await page.getByText('Details').click();
  await page.locator('#config table').waitFor();
  assert.doesNotMatch(await page.locator('#config').innerText(), /sim-secret/);
});

shows('a refresh by a person', {}, async (_at, page) => {
  await says(page, 'Valid');
  // The proxy refreshes at most once a second.
  await page.waitForTimeout(1_100);
  await page.getByRole('button', { name: 'Refresh' }).click();
  await page.getByText('Refreshed: generation 2.').waitFor();
  await page.getByText('by a person').waitFor();
  assert.match(await page.locator('#identity').innerText(), /generation 2/);
});

test('starting', async () => {
  await token('hang');
  const at = await proxy(sim);
  const { page, context } = await tab(browser);
  await page.goto(at.origin);
  await says(page, 'Starting');
  await sim.control('DELETE', 'fault');
  await context.close();
  await at.stop();
});

test('expiring, then expired, then valid again', async () => {
  await token({ edit: [['expires_in', '10']] }, 'after_commit', 1);
  const at = await proxy(sim);
  const { page, context } = await tab(browser);
  await page.goto(at.origin);
  await says(page, 'Valid');
  await token('close');
  await says(page, 'Expiring');
  await says(page, 'Expired', 20_000);
  assert.match(await page.locator('#line').innerText(), /requests get 503/);
  assert.ok((await page.locator('#problems li').count()) > 0, 'the failed refreshes are problems');
  await sim.control('DELETE', 'fault');
  await page.getByRole('button', { name: 'Refresh' }).click();
  await says(page, 'Valid');
  await context.close();
  await at.stop();
});

shows('refused', {}, async (at, page) => {
  await says(page, 'Valid');
  // The refresh may have succeeded, so the old token may be revoked.
  await token('close');
  await sim.control('POST', 'revoke', { all: 'access' });
  await fetch(`${at.listen}/api/v2/version`);
  await says(page, 'Refused');
});

shows('needs a login, where none is offered', {}, async (at, page) => {
  await says(page, 'Valid');
  await sim.control('POST', 'revoke', { all: 'both' });
  await page.waitForTimeout(1_100);
  await page.getByRole('button', { name: 'Refresh' }).click();
  await says(page, 'Needs a login');
  assert.equal(await page.locator('#login').isVisible(), false);
  assert.match(await page.locator('#command').innerText(), /bearer-proxy login/);
  assert.equal((await at.status()).state, 'needs_login');
});

shows('not stored', {}, async (at, page) => {
  await says(page, 'Valid');
  await page.waitForTimeout(1_100);
  // The store goes while the token call is answered.
  await token({ delay: 1_500 }, 'after_commit', 1);
  const refreshed = at.ask('/refresh', { method: 'POST' });
  await page.waitForTimeout(700);
  rmSync(join(at.folder, 'store'), { recursive: true });
  await says(page, 'Not stored');
  await refreshed;
});

shows('static', { grant: false, set: { OAUTH__GRANT: 'static', OAUTH__ACCESS_TOKEN: 'a-token-of-the-page-test', STORE__KIND: 'memory' } }, async (_at, page) => {
  await says(page, 'Valid');
  await page.getByText('The proxy never refreshes a static token.').waitFor();
});

shows('client credentials', { grant: false, set: { OAUTH__GRANT: 'client_credentials', STORE__KIND: 'memory' } }, async (_at, page) => {
  await says(page, 'Valid');
});

shows('the key is asked for and accepted', { key: KEY }, async (_at, page) => {
  await says(page, 'Key needed');
  await page.getByLabel('Admin key').fill(KEY);
  await page.keyboard.press('Enter');
  await says(page, 'Valid');
});

test('draining, then stopped, then valid after a restart', async () => {
  const at = await proxy(sim, { set: { SHUTDOWN__DELAY: '4s' } });
  const { page, context } = await tab(browser);
  await page.goto(at.origin);
  await says(page, 'Valid');
  await page.getByRole('button', { name: 'Drain' }).click();
  await page.getByRole('button', { name: 'Drain and stop' }).click();
  await says(page, 'Draining');
  await at.process.ended;
  await says(page, 'Stopped');
  await at.again();
  await says(page, 'Valid');
  await context.close();
  await at.stop();
});

test('a crash is said, and the page continues after it', async () => {
  const at = await proxy(sim);
  const { page, context } = await tab(browser);
  await page.goto(at.origin);
  await says(page, 'Valid');
  await at.process.stop('SIGKILL');
  await says(page, 'No connection');
  await at.again();
  await says(page, 'Valid');
  await context.close();
  await at.stop();
});

test('the ninth page says that eight are open', async () => {
  const at = await proxy(sim);
  const { page, context } = await tab(browser);
  const held = await Promise.all(Array.from({ length: 8 }, () => at.ask('/events')));
  await page.goto(at.origin);
  await says(page, 'Too many pages');
  await Promise.all(held.map((response) => response.body?.cancel()));
  await says(page, 'Valid', 15_000);
  await context.close();
  await at.stop();
});

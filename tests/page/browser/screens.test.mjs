// Each state in both themes at three widths: a picture, no overlap, no cut text, enough contrast, and nothing serious for axe-core.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { axe, launch, quiet, says, tab } from '../browser.mjs';
import { findings } from '../layout.mjs';
import { start } from '../mock.mjs';
import { STATES, pageOf } from '../states.mjs';
import { describe } from '../../../src/admin/page/assets/words.js';

const PICTURES = process.env['PICTURES'] ?? 'target/page/pictures';
const WIDTHS = [360, 768, 1440];
/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof start>>} */
let mock;

before(async () => {
  await mkdir(PICTURES, { recursive: true });
  [browser, mock] = await Promise.all([launch(), start()]);
});
after(async () => {
  await browser.close();
  await mock.close();
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  for (const state of Object.keys(STATES)) {
    test(`${state}, ${colorScheme}`, async () => {
      mock.state = state;
      const { page, context, complaints } = await tab(browser, { colorScheme });
      await page.goto(mock.origin);
      await says(page, describe(/** @type {any} */ (pageOf(state)), Date.now()).word);
      await check(page, `${state}-${colorScheme}`);
      assert.deepEqual(await axe(page), []);
      quiet(complaints);
      await context.close();
    });
  }

  test(`no connection, ${colorScheme}`, async () => {
    const gone = await start({ state: 'valid' });
    const { page, context } = await tab(browser, { colorScheme });
    await page.goto(gone.origin);
    await says(page, 'Valid');
    await gone.close();
    await says(page, 'No connection');
    await check(page, `no-connection-${colorScheme}`);
    assert.deepEqual(await axe(page), []);
    await context.close();
  });

  test(`the key is asked for, ${colorScheme}`, async () => {
    const locked = await start({ key: 'right' });
    const { page, context } = await tab(browser, { colorScheme });
    await page.goto(locked.origin);
    await says(page, 'Key needed');
    await check(page, `key-needed-${colorScheme}`);
    assert.deepEqual(await axe(page), []);
    await context.close();
    await locked.close();
  });

  test(`the dialogs, ${colorScheme}`, async () => {
    mock.state = 'needs-login';
    const { page, context } = await tab(browser, { colorScheme });
    await page.goto(mock.origin);
    await says(page, 'Needs a login');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.locator('#paste-link[href]').waitFor();
    await check(page, `login-dialog-${colorScheme}`, false);
    assert.deepEqual(await axe(page), []);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Drain' }).click();
    await check(page, `drain-dialog-${colorScheme}`, false);
    assert.deepEqual(await axe(page), []);
    await context.close();
  });

  test(`the details, ${colorScheme}`, async () => {
    mock.state = 'busy';
    const { page, context } = await tab(browser, { colorScheme });
    await page.goto(mock.origin);
    await says(page, 'Valid');
    await page.getByText('Details').click();
    await page.locator('#config table').waitFor();
    await check(page, `details-${colorScheme}`);
    assert.deepEqual(await axe(page), []);
    await context.close();
  });
}

/** @param {import('playwright-core').Page} page @param {string} name @param {boolean} [fullPage] */
async function check(page, name, fullPage = true) {
  const found = [];
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: width === 360 ? 740 : 900 });
    await page.screenshot({ path: `${PICTURES}/${name}-${width}.png`, fullPage, animations: 'disabled' });
    found.push(...(await page.evaluate(findings)).map((finding) => `${width}: ${finding}`));
  }
  assert.deepEqual(found, []);
}

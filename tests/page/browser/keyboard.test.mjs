// Everything by keyboard alone, with a focus that can be seen.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, says, tab } from '../browser.mjs';
import { start } from '../mock.mjs';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof start>>} */
let mock;

before(async () => { [browser, mock] = await Promise.all([launch(), start({ key: 'right' })]); });
after(async () => {
  await browser.close();
  await mock.close();
});

test('the key, refresh, drain, login and details need no mouse', async () => {
  const { page } = await tab(browser);
  const focus = () => page.evaluate(() => {
    const at = document.activeElement;
    const outline = at ? getComputedStyle(at) : null;
    const isSeen = outline !== null && outline.outlineStyle !== 'none' && parseFloat(outline.outlineWidth) >= 2;
    return { name: at?.id || at?.textContent?.trim() || '', isSeen };
  });
  /** Presses Tab until `name` has the focus. @param {string} name */
  const reach = async (name) => {
    const passed = [];
    for (let i = 0; i < 40; i += 1) {
      await page.keyboard.press('Tab');
      const now = await focus();
      if (now.name !== '') assert.ok(now.isSeen, `the focus on ${now.name} cannot be seen`);
      if (now.name === name) return;
      passed.push(now.name);
    }
    throw new Error(`Tab never reached ${name}: ${passed.join(', ')}`);
  };

  await page.goto(mock.origin);
  await says(page, 'Key needed');
  await reach('key');
  await page.keyboard.type('right');
  await page.keyboard.press('Enter');
  await says(page, 'Valid');

  await reach('refresh');
  await page.keyboard.press('Enter');
  await page.getByText('Refreshed: generation 41.').waitFor();
  assert.equal((await focus()).name, 'refresh', 'the focus stays where it was');

  await reach('drain');
  await page.keyboard.press('Space');
  assert.equal((await focus()).name, 'drain-no', 'the harmless answer comes first');
  await page.keyboard.press('Escape');
  assert.equal((await focus()).name, 'drain', 'the focus returns');

  await page.keyboard.press('Shift+Tab');
  assert.equal((await focus()).name, 'login');
  await page.keyboard.press('Enter');
  await reach('paste-title');
  await page.keyboard.press('Enter');
  await page.locator('#paste-link[href]').waitFor();
  await reach('paste-link');
  await reach('paste-field');
  await page.keyboard.type('nonsense');
  await reach('paste-go');
  await page.keyboard.press('Enter');
  await page.getByText('The pasted text has no code.').waitFor();
  await reach('login-close');
  await page.keyboard.press('Enter');
  assert.equal((await focus()).name, 'login');

  await reach('Details');
  await page.keyboard.press('Enter');
  await page.locator('#config table').waitFor();
});

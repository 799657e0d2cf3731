// Chromium, and pages in it that complain.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** @param {string[]} [more] arguments */
export async function launch(more = []) {
  return chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...more],
  });
}

/**
 * A page that keeps what the console and the policy complain about.
 * @param {import('playwright-core').Browser} browser
 * @param {{width?: number, colorScheme?: 'light' | 'dark', context?: import('playwright-core').BrowserContext}} [options]
 */
export async function tab(browser, { width = 1440, colorScheme = 'light', context } = {}) {
  context ??= await browser.newContext({ viewport: { width, height: 900 }, colorScheme, locale: 'en-GB', timezoneId: 'Europe/Berlin' });
  const page = await context.newPage();
  /** @type {string[]} */
  const complaints = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(String(error)));
  // Also what the console does not show.
  await page.exposeFunction('complain', (/** @type {string} */ text) => complaints.push(text));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) => /** @type {any} */ (globalThis).complain(`CSP: ${event.violatedDirective} ${event.blockedURI}`)));
  return { page, context, complaints };
}

/** Waits for a state. @param {import('playwright-core').Page} page @param {string} word @param {number} [timeout] */
export async function says(page, word, timeout = 10_000) {
  try {
    await page.waitForFunction((word) => document.getElementById('word')?.textContent === word, word, { timeout });
  } catch {
    throw new Error(`the page never said ${word}: ${await page.locator('#state').innerText()}`);
  }
}

/** The findings of axe-core that are serious. By evaluation: the policy allows no other script. @param {import('playwright-core').Page} page */
export async function axe(page) {
  await page.evaluate(await readFile(AXE, 'utf8'));
  const results = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run(document, { resultTypes: ['violations'] }));
  return results.violations
    .filter((/** @type {any} */ { impact }) => ['serious', 'critical'].includes(impact))
    .map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ node) => node.html).join(' ')}`);
}

/** Fails with everything that the console said. @param {string[]} complaints @param {RegExp} [except] */
export function quiet(complaints, except) {
  assert.deepEqual(complaints.filter((text) => !except?.test(text)), []);
}

// What an open page costs: the proxy and the page together under 1 % of a core, 40 KB, and a first paint under 200 ms.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { launch, says, tab } from '../browser.mjs';
import { proxy, simulator } from '../program.mjs';

const SECONDS = 30;

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Awaited<ReturnType<typeof simulator>>} */
let sim;
/** @type {Awaited<ReturnType<typeof proxy>>} */
let at;

before(async () => {
  [browser, sim] = await Promise.all([launch(), simulator()]);
  at = await proxy(sim);
});
after(async () => {
  await browser.close();
  await at.stop();
  await sim.stop();
});

/** The processor time of a process in seconds. @param {number} pid */
function used(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  // Fields 14 and 15 of proc(5), in ticks of 10 ms.
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test('the page is loaded in 40 KB', async () => {
  const { page, context } = await tab(browser);
  let bytes = 0;
  const sizes = /** @type {Promise<void>[]} */ ([]);
  page.on('requestfinished', (request) => {
    if (!request.url().endsWith('/events')) sizes.push(request.sizes().then(({ responseBodySize }) => { bytes += responseBodySize; }));
  });
  await page.goto(at.origin);
  await says(page, 'Valid');
  await Promise.all(sizes);
  console.log(`loaded: ${bytes} bytes`);
  assert.ok(bytes > 10_000 && bytes <= 40_000, String(bytes));
  await context.close();
});

test('the first paint takes under 200 ms', async () => {
  const { page, context } = await tab(browser);
  /** @type {number[]} */
  const paints = [];
  // The best of some: other programs share this machine.
  while (paints.length < 20 && !paints.some((ms) => ms < 200)) {
    await page.goto('about:blank');
    await page.goto(at.origin);
    await says(page, 'Valid');
    paints.push(await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Infinity));
  }
  console.log(`first contentful paint: ${paints.map((ms) => ms.toFixed(0)).join(', ')} ms`);
  assert.ok(Math.min(...paints) < 200, String(paints));
  await context.close();
});

test('an open page takes under 1 % of a core', async () => {
  const { page, context } = await tab(browser);
  await page.goto(at.origin);
  for (let i = 0; i < 50; i += 1) await fetch(`${at.listen}/api/v2/version`);
  await says(page, 'Valid');
  // Charts with figures in them.
  await page.getByRole('heading', { name: 'Requests per second' }).waitFor({ timeout: 15_000 });
  const session = await browser.newBrowserCDPSession();
  const renderers = async () => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    return processInfo.filter(({ type }) => type === 'renderer').reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  let [proxyShare, pageShare] = [Infinity, Infinity];
  // The best of some: a busy machine takes more time for the same work.
  for (let i = 0; i < 4 && !(proxyShare < 1 && pageShare < 1); i += 1) {
    const [proxyBefore, pageBefore] = [used(at.process.child.pid ?? 0), await renderers()];
    await page.waitForTimeout(SECONDS * 1_000);
    proxyShare = ((used(at.process.child.pid ?? 0) - proxyBefore) / SECONDS) * 100;
    pageShare = (((await renderers()) - pageBefore) / SECONDS) * 100;
    console.log(`an open page: proxy ${proxyShare.toFixed(2)} %, renderer ${pageShare.toFixed(2)} % of a core`);
  }
  assert.ok(proxyShare < 1, `proxy: ${proxyShare} %`);
  assert.ok(pageShare < 1, `renderer: ${pageShare} %`);
  await context.close();
});

// Refresh and drain, and what came of them.

import { post } from './api.js';
import { byId, onChange, setText } from './dom.js';
import { parse, relative } from './time.js';

/** @typedef {import('../types.d.ts').Page} Page */
/** @typedef {import('../types.d.ts').Login} Login */

/** How long the page reports the result of a login. */
const RECENT_MS = 600_000;

/**
 * @param {() => Page | null} page @param {() => void} openLogin
 */
export function actions(page, openLogin) {
  const result = byId('result');
  /** @type {HTMLDialogElement} */
  const dialog = byId('drain-dialog');

  /** @param {string} text @param {boolean} ok */
  function say(text, ok) {
    setText(result, text);
    result.className = ok ? 'ok' : 'bad';
  }

  /** Runs one action at a time, and keeps the focus on its button. @param {string} name @param {string} doing @param {() => Promise<string>} act */
  async function run(name, doing, act) {
    const button = byId(name);
    if (button.getAttribute('aria-disabled') === 'true') return;
    const label = button.textContent ?? '';
    button.dataset.busy = '';
    button.setAttribute('aria-disabled', 'true');
    setText(button, doing);
    try {
      say(await act(), true);
    } catch (error) {
      say(error instanceof Error ? error.message : String(error), false);
    } finally {
      setText(button, label);
      delete button.dataset.busy;
      button.setAttribute('aria-disabled', 'false');
    }
  }

  byId('refresh').addEventListener('click', () =>
    run('refresh', 'Refreshing…', async () => {
      const status = await post('/refresh');
      return `Refreshed: generation ${status.generation}.`;
    }));

  byId('drain').addEventListener('click', () => {
    if (byId('drain').getAttribute('aria-disabled') !== 'true') dialog.showModal();
  });
  byId('drain-no').addEventListener('click', () => dialog.close());
  byId('drain-yes').addEventListener('click', () => {
    dialog.close();
    run('drain', 'Draining…', async () => {
      await post('/drain');
      return 'The drain has begun.';
    });
  });

  byId('login').addEventListener('click', () => {
    if (byId('login').getAttribute('aria-disabled') !== 'true') openLogin();
  });

  byId('copy').addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(page()?.login.command ?? '');
      say('Copied.', true);
    } catch {
      getSelection()?.selectAllChildren(byId('command-text'));
      say('Selected: copy it with your keyboard.', true);
    }
  });

  const sayLogin = onChange((/** @type {NonNullable<Login['last']>} */ last, now) => {
    const at = parse(last.at) ?? 0;
    if (now - at > RECENT_MS) return;
    const when = relative(at, now);
    say(last.ok ? `Logged in ${when}. The new grant is in use.` : `The login failed ${when}: ${last.message}`, last.ok);
  });

  return { say: { login: sayLogin } };
}

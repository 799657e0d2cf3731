// The login: by the redirect, or by pasting the address that the browser was sent to.

import { post } from './api.js';
import { byId, setText, show } from './dom.js';

/** @typedef {import('../types.d.ts').Page} Page */
/** @typedef {import('../types.d.ts').LoginStarted} LoginStarted */

/** The address of a page that moved here to log in. It only opens the dialog: a foreign page could lead here, too. */
const RESUME = '#login';

/** @param {() => Page | null} page */
export function loginDialog(page) {
  /** @type {HTMLDialogElement} */
  const dialog = byId('login-dialog');
  /** @type {HTMLDetailsElement} */
  const paste = byId('paste');
  /** @type {HTMLAnchorElement} */
  const link = byId('paste-link');
  /** @type {HTMLTextAreaElement} */
  const field = byId('paste-field');
  const go = byId('login-go');
  /** The started login. The proxy forgets the first of many, so a dialog starts one. @type {Promise<LoginStarted> | null} */
  let started = null;

  /** @param {unknown} error */
  function fail(error) {
    setText(byId('login-error'), error instanceof Error ? error.message : String(error));
  }

  function start() {
    setText(byId('login-error'), '');
    started ??= post('/login').then((/** @type {LoginStarted} */ answer) => {
      if (!/^https?:$/.test(new URL(answer.authorize_url).protocol)) throw new Error('The login page has no web address.');
      return answer;
    });
    started.catch(() => { started = null; });
    return started;
  }

  /** Where the redirect arrives, if that is not here. */
  function elsewhere() {
    const origin = page()?.login.callback_origin ?? null;
    return origin !== null && origin !== location.origin ? origin : null;
  }

  async function showLink() {
    try {
      link.href = (await start()).authorize_url;
    } catch (error) {
      link.removeAttribute('href');
      fail(error);
    }
  }

  function open() {
    const login = page()?.login;
    if (!login?.offered || dialog.open) return;
    const origin = elsewhere();
    const canReturn = login.callback_origin !== null;
    const move = origin === null ? '' : ` The server sends you back to ${origin}, so this page moves there first.`;
    setText(byId('login-text'),
      `Log in with the account that the proxy uses. The new grant replaces the present one. If the login fails, nothing changes.${move}`);
    setText(go, origin === null ? 'Continue to the login page' : `Continue at ${new URL(origin).host}`);
    show('login-go', canReturn);
    setText(byId('paste-title'), canReturn ? 'Paste the address instead' : 'Log in, then paste the address');
    byId('paste-go').classList.toggle('primary', !canReturn);
    started = null;
    field.value = '';
    link.removeAttribute('href');
    setText(byId('login-error'), '');
    paste.open = false;
    dialog.showModal();
    // Only pasting can work. The toggle event starts the login.
    if (!canReturn) paste.open = true;
  }

  paste.addEventListener('toggle', () => {
    if (paste.open && dialog.open && !link.hasAttribute('href')) showLink();
  });

  go.addEventListener('click', async () => {
    const origin = elsewhere();
    if (origin !== null) return location.assign(`${origin}/${RESUME}`);
    try {
      const answer = await start();
      if (answer.callback) return location.assign(answer.authorize_url);
      link.href = answer.authorize_url;
      paste.open = true;
    } catch (error) {
      fail(error);
    }
  });

  byId('paste-go').addEventListener('click', async () => {
    const input = field.value.trim();
    if (input === '') return fail('Paste the address or the code first.');
    setText(byId('login-error'), '');
    try {
      await post('/login/code', { input });
      dialog.close();
    } catch (error) {
      fail(error);
    }
  });

  byId('login-close').addEventListener('click', () => dialog.close());
  // A code is not kept longer than needed.
  dialog.addEventListener('close', () => { field.value = ''; });

  return {
    open,
    /** Goes on with a login for which the page moved here. */
    resume() {
      if (location.hash !== RESUME) return;
      history.replaceState(null, '', '/');
      open();
    },
  };
}

// Requests to the proxy. The key is kept for this tab only, and never in a cookie.

const KEY = 'bearer-proxy-key';

export class Refused extends Error {
  /** @param {number} status @param {string} detail @param {string} kind */
  constructor(status, detail, kind) {
    super(detail);
    this.status = status;
    this.kind = kind;
  }
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** @param {string | null} key */
export function setKey(key) {
  if (key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
}

/**
 * @param {string} path @param {RequestInit} [init]
 */
export function ask(path, init = {}) {
  const headers = new Headers(init.headers);
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.set('Authorization', `Bearer ${key}`);
  return fetch(path, { cache: 'no-store', redirect: 'error', ...init, headers });
}

/**
 * The JSON document of an answer.
 * @param {string} path @param {RequestInit} [init]
 * @returns {Promise<any>}
 */
export async function json(path, init) {
  let response;
  try {
    response = await ask(path, init);
  } catch {
    throw new Refused(0, 'The proxy does not answer.', '');
  }
  const document = await response.json().catch(() => ({}));
  if (response.ok) return document;
  throw new Refused(response.status, document.detail ?? `The proxy answered ${response.status}.`, document.type ?? '');
}

/** @param {string} path @param {unknown} [body] */
export function post(path, body) {
  const init = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
  return json(path, { method: 'POST', ...init });
}

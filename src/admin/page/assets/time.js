// Times and durations as `bearer-proxy status` prints them.

const UNITS = /** @type {const} */ ([[86_400, 'd'], [3_600, 'h'], [60, 'm'], [1, 's']]);

/**
 * A duration in its two largest units.
 * @param {number} ms
 */
export function span(ms) {
  let left = Math.floor(Math.abs(ms) / 1000);
  const parts = [];
  for (const [unit, name] of UNITS) {
    if (left >= unit) parts.push(`${Math.floor(left / unit)}${name}`);
    left %= unit;
  }
  return parts.slice(0, 2).join(' ') || '0s';
}

/**
 * The distance of a time from now. Whole seconds, so that a time that has just passed is not "in 0s".
 * @param {number} at @param {number} now
 */
export function relative(at, now) {
  const seconds = Math.floor(at / 1000) - Math.floor(now / 1000);
  if (seconds === 0) return 'now';
  return seconds > 0 ? `in ${span(seconds * 1000)}` : `${span(seconds * 1000)} ago`;
}

/** Whether a text has a duration of less than a minute. @param {string} text */
export function countsSeconds(text) {
  return /(?<!\d[dhm] )\b\d+s\b/.test(text);
}

/** How long something took. @param {number} ms */
export function took(ms) {
  return ms < 1_000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1).replace('.0', '')} s` : span(ms);
}

/** @param {string | null | undefined} text */
export function parse(text) {
  const at = text ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

/**
 * The time of day in the browser's time zone, with the date if it is not today.
 * @param {number} at @param {number} now @param {string} [zone] for tests
 */
export function clock(at, now, zone) {
  const day = date(at, zone);
  const time = new Date(at).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', timeZone: zone });
  return day === date(now, zone) ? time : `${day}, ${time}`;
}

/** @param {number} at @param {string} [zone] */
export function date(at, zone) {
  return new Date(at).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric', timeZone: zone });
}

/**
 * Both zones, for the title of a relative time.
 * @param {number} at @param {string} [zone]
 */
export function full(at, zone) {
  const local = new Date(at).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'long', timeZone: zone });
  return `${local} (${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC)`;
}

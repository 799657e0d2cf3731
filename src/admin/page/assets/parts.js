// Pieces that several sections show.

import { el, setText, svg } from './dom.js';
import { full, relative } from './time.js';

/** @typedef {import('../types.d.ts').Tone} Tone */

const PATHS = {
  working: 'M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14z',
  waiting: 'M8 1 15.5 14.5H.5z',
  failing: 'M3 1 8 6l5-5 2 2-5 5 5 5-2 2-5-5-5 5-2-2 5-5-5-5z',
  person: 'M1.5 1.5h13v13h-13z',
  unknown: 'M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14zm0 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9z',
};

/** The mark of a tone: a shape and a colour. @param {Tone} tone */
export function mark(tone) {
  return svg('svg', { class: `mark ${tone}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, svg('path', { d: PATHS[tone], 'fill-rule': 'evenodd' }));
}

/** A relative time that `tick` keeps. @param {string} at @param {number} now */
export function ago(at, now) {
  const time = Date.parse(at);
  return el('time', { datetime: at, title: full(time) }, relative(time, now));
}

/** Updates all relative times. @param {number} now */
export function tick(now) {
  for (const time of document.querySelectorAll('time')) setText(time, relative(Date.parse(time.dateTime), now));
}

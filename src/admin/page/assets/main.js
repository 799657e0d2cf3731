// Follows the proxy and shows what it says.

import { actions } from './actions.js';
import { ask, hasKey, setKey } from './api.js';
import { byId, show } from './dom.js';
import { loginDialog } from './login.js';
import { tick } from './parts.js';
import { lastHour } from './scale.js';
import { follow } from './stream.js';
import { countsSeconds } from './time.js';
import { showFigures, showState } from './view.js';

/** @typedef {import('../types.d.ts').Page} Page */
/** @typedef {import('../types.d.ts').Sample} Sample */
/** @typedef {import('../types.d.ts').Link} Link */

/** @type {Page | null} */
let page = null;
/** @type {Sample[]} */
let samples = [];
/** @type {Link} */
let link = { kind: 'connecting' };
/** When the proxy was last heard, in the browser's time. @type {number | null} */
let heard = null;
/** The proxy's clock minus the browser's. */
let offset = 0;
/** Whether the proxy drained when it was last heard. */
let isDraining = false;
/** Whether the last connection presented a key. */
let presented = false;

const login = loginDialog(() => page);
const { say } = actions(() => page, login.open);

const stream = follow(
  (path, init) => {
    presented = hasKey();
    return ask(path, init);
  },
  {
    page(next) {
      heard = Date.now();
      offset = Date.parse(next.now) - heard;
      page = next;
      isDraining = next.status.draining;
      if (next.samples) samples = next.samples;
      draw();
      login.resume();
    },
    sample(sample) {
      heard = Date.now();
      // A new stream begins with all samples: the same one can arrive twice.
      if (samples.at(-1)?.at !== sample.at) samples = lastHour([...samples, sample], heard + offset);
      draw();
    },
    link(next) {
      link = next;
      isDraining ||= next.kind === 'draining';
      if (next.kind === 'key') {
        link = { kind: 'key', wrong: presented };
        setKey(null);
        forget();
      }
      draw();
    },
  },
);

/** Without the key, nothing of the proxy is shown. */
function forget() {
  page = null;
  samples = [];
  heard = null;
}

/** Shows what depends on the time, each second. */
function drawState() {
  const isCurrent = showState({ page, link, heard, now: Date.now(), offset, isDraining });
  byId('main').classList.toggle('stale', !isCurrent);
}

function draw() {
  const now = Date.now() + offset;
  if (page) showFigures(page, samples, now);
  show('figures', page !== null);
  drawState();
  if (page?.login.last) say.login(page.login.last, now);
}

byId('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  /** @type {HTMLInputElement} */
  const field = byId('key');
  const key = field.value.trim();
  field.value = '';
  // A header field cannot carry anything else.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    link = { kind: 'key', wrong: true };
    return draw();
  }
  setKey(key);
  link = { kind: 'connecting' };
  draw();
  stream.start();
});

// Each change of a text costs a layout and a paint. Only a last minute is counted in seconds.
let seconds = 0;
setInterval(() => {
  if (document.hidden) return;
  seconds += 1;
  const isFifth = seconds % 5 === 0;
  if (isFifth || countsSeconds(byId('line').textContent ?? '')) drawState();
  if (isFifth) tick(Date.now() + offset);
}, 1_000);

draw();
stream.start();

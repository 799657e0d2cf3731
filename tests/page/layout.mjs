// What a screenshot must not show: texts that overlap, that are cut, or that are too pale. Runs in the page.

/**
 * @returns {string[]} findings
 */
export function findings() {
  /** @type {{text: string, rect: DOMRect, parent: Element}[]} */
  const texts = [];
  const found = [];
  // Behind a dialog, nothing is read.
  const root = document.querySelector('dialog[open]') ?? document.body;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    const text = node.textContent?.trim() ?? '';
    if (!parent || text === '' || parent.closest('.sr, [hidden], noscript, dialog:not([open]), title') || !parent.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) if (rect.width > 0) texts.push({ text, rect, parent });
    // A word that the layout breaks. Longer ones have to be.
    for (const { index, 0: word } of (node.textContent ?? '').matchAll(/(?<=^|\s)[\p{L}\p{N}.,:]{2,16}(?=$|\s)/gu)) {
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
      if (lines.size > 1) found.push(`broken word: “${word}” in “${text}”`);
    }
    const ratio = contrast(parent);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${text}`);
  }
  texts.sort((a, b) => a.rect.top - b.rect.top);
  for (const [i, a] of texts.entries()) {
    for (let j = i + 1; j < texts.length; j += 1) {
      const b = /** @type {typeof a} */ (texts[j]);
      if (b.rect.top >= a.rect.bottom) break;
      // Glyphs are smaller than their line boxes.
      const overlap = (/** @type {'left' | 'top'} */ from, /** @type {'right' | 'bottom'} */ to) => Math.min(a.rect[to], b.rect[to]) - Math.max(a.rect[from], b.rect[from]);
      if (overlap('left', 'right') > 1 && overlap('top', 'bottom') > 6) found.push(`overlap: “${a.text}” and “${b.text}”`);
    }
    if (a.rect.left < -0.5 || a.rect.right > innerWidth + 0.5) found.push(`outside: ${a.text}`);
    const box = a.parent.closest('section, #details, dialog')?.getBoundingClientRect();
    if (box && (a.rect.left < box.left - 0.5 || a.rect.right > box.right + 0.5)) found.push(`outside its section: ${a.text}`);
  }
  for (const element of document.querySelectorAll('body *')) {
    if (!(element instanceof HTMLElement) || element.closest('.sr') || !element.checkVisibility()) continue;
    const cut = getComputedStyle(element).display !== 'inline' && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0;
    if (cut) found.push(`cut: <${element.tagName.toLowerCase()} id=${element.id}> ${element.textContent?.trim().slice(0, 60)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  return found;

  /** @param {Element} element */
  function contrast(element) {
    const style = getComputedStyle(element);
    const text = rgb(element instanceof SVGElement ? style.fill : style.color);
    /** @type {Element | null} */
    let behind = element;
    let back = [255, 255, 255, 1];
    for (; behind; behind = behind.parentElement) {
      const colour = rgb(getComputedStyle(behind).backgroundColor);
      if ((colour[3] ?? 1) > 0) { back = colour; break; }
    }
    const [a, b] = [luminance(text), luminance(back)].sort((x, y) => y - x);
    return ((a ?? 0) + 0.05) / ((b ?? 0) + 0.05);
  }

  /** @param {string} colour */
  function rgb(colour) {
    const numbers = colour.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
    return numbers.length === 3 ? [...numbers, 1] : numbers;
  }

  /** @param {number[]} colour */
  function luminance(colour) {
    const [r = 0, g = 0, b = 0] = colour.slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
}

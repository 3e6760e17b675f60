/** Marks what was searched for, without touching a node: it stays selectable, and watchers stay quiet. */

/**
 * @param {string} name of these hits in the style sheets
 * @param {Iterable<Node>} places
 * @param {string} words as a whole, whatever their case; "" for none
 */
export function markHits(name, places, words) {
  if (!CSS.highlights) return; // an older browser finds as well, it only marks nothing
  const wanted = words && new RegExp(words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
  CSS.highlights.set(name, new Highlight(...(wanted ? [...places].flatMap((place) => rangesIn(place, wanted)) : [])));
}

/** @returns {Range[]} */
function rangesIn(/** @type {Node} */ place, /** @type {RegExp} */ wanted) {
  const ranges = [];
  const walker = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    for (const { index, 0: found } of /** @type {string} */ (node.nodeValue).matchAll(wanted)) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + found.length);
      ranges.push(range);
    }
  return ranges;
}

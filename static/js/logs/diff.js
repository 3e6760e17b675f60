/** Where two texts differ, character by character. Pure. */

/** @typedef {{kind: "same" | "removed" | "added", text: string}} Part */

/** Larger middles are shown as replaced as a whole: the table below has one cell per pair. */
const MOST_CELLS = 4_000_000;

/**
 * @param {string} before
 * @param {string} after
 * @returns {Part[]} that read `before` without the added and `after` without the removed ones
 */
export function diff(before, after) {
  const [a, b] = [Array.from(before), Array.from(after)];
  const head = commonLength(a, b, (list, i) => list[i]);
  const [restA, restB] = [a.slice(head), b.slice(head)];
  const tail = commonLength(restA, restB, (list, i) => list[list.length - 1 - i]);
  const middleA = restA.slice(0, restA.length - tail);
  const middleB = restB.slice(0, restB.length - tail);
  const parts = [part("same", a.slice(0, head))];
  if (middleA.length * middleB.length > MOST_CELLS)
    parts.push(part("removed", middleA), part("added", middleB));
  else parts.push(...aligned(middleA, middleB));
  return merged([...parts, part("same", restA.slice(restA.length - tail))]);
}

/** Follows a longest common subsequence (Wagner and Fischer, 1974). */
function aligned(/** @type {string[]} */ a, /** @type {string[]} */ b) {
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] =
        a[i] === b[j]
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  const parts = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) parts.push(part("same", [a[i]])), i++, j++;
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) parts.push(part("removed", [a[i++]]));
    else parts.push(part("added", [b[j++]]));
  }
  return [...parts, part("removed", a.slice(i)), part("added", b.slice(j))];
}

/**
 * @param {string[]} a
 * @param {string[]} b
 * @param {(list: string[], i: number) => string} at
 */
function commonLength(a, b, at) {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && at(a, length) === at(b, length)) length++;
  return length;
}

/** @returns {Part} */
function part(/** @type {Part["kind"]} */ kind, /** @type {string[]} */ characters) {
  return { kind, text: characters.join("") };
}

/** Neighbours of one kind become one part; empty ones vanish. */
function merged(/** @type {Part[]} */ parts) {
  /** @type {Part[]} */
  const result = [];
  for (const each of parts.filter((candidate) => candidate.text)) {
    const last = result.at(-1);
    if (last?.kind === each.kind) last.text += each.text;
    else result.push({ ...each });
  }
  return result;
}

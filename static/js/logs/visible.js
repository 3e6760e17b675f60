/** Makes characters visible that hide or turn text: in a log one wants to see what is there. Pure. */

/** Controls but line end and tab; soft hyphen; zero width; bidirectional; separators; tags. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/u;
const PARTS = new RegExp(`(${HIDDEN.source})`, "u");

/**
 * @param {string} text
 * @returns {{text: string, hidden: boolean}[]} hidden ones are named by their code point
 */
export function visibleParts(text) {
  return text
    .split(PARTS)
    .filter(Boolean)
    .map((part) => (HIDDEN.test(part) ? { text: codePoint(part), hidden: true } : { text: part, hidden: false }));
}

function codePoint(/** @type {string} */ character) {
  const number = /** @type {number} */ (character.codePointAt(0));
  return `U+${number.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Where the keyboard goes when what it was on is gone. */

import { find } from "../shared/dom.js";

/** Puts the keyboard where the next word is to be written. */
export function focusPrompt() {
  const touched = matchMedia("(pointer: coarse)").matches; // there it would open the keyboard
  find(touched ? "#transcript" : "#prompt").focus({ preventScroll: true });
}

/**
 * Makes a part of the page anew. If that takes the focus away, it goes to what says the same there,
 * else to the prompt.
 * @param {HTMLElement} part
 * @param {() => void} change
 */
export function keepingFocus(part, change) {
  const held = /** @type {HTMLElement} */ (document.activeElement);
  const inside = part.contains(held);
  change();
  if (!inside || document.activeElement !== document.body) return;
  if (held.isConnected) return held.focus();
  const same = [...part.querySelectorAll("a, button:not(:disabled)")].filter((each) => nameOf(each) === nameOf(held));
  const next = /** @type {HTMLElement | undefined} */ (same.at(-1));
  if (next) next.focus();
  else focusPrompt();
}

function nameOf(/** @type {Element} */ node) {
  return node.getAttribute("href") ?? node.getAttribute("aria-label") ?? node.textContent;
}

/** The dialogs of the page. */

import { find } from "../shared/dom.js";

/**
 * Asks before something is lost.
 * @param {string} question
 * @param {string} yes the word on the button that does it
 * @returns {Promise<boolean>}
 */
export function confirmed(question, yes) {
  const dialog = find("#confirmation");
  find("p", dialog).textContent = question;
  find("[value=yes]", dialog).textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export function showShortcuts() {
  find("#shortcuts").showModal();
}

/** The dialogs of the page. */

import { find } from "../shared/dom.js";

export function showShortcuts() {
  find("#shortcuts").showModal();
}

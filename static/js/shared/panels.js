/** Side panels: beside the main part on wide screens, over it on narrow ones. */

import { find } from "./dom.js";
import { recall, remember } from "./storage.js";

const ROOT = document.documentElement;
const NARROW = matchMedia("(max-width: 1020px)");

/** A panel and the button that shows and hides it; on wide screens its state is remembered. */
export class Panel {
  /** @param {string} id of the panel; its button has `aria-controls` */
  constructor(id) {
    this.panel = find(`#${id}`);
    this.button = find(`[aria-controls="${id}"]`);
    this.name = `minivault.panel.${id}`;
    this.button.addEventListener("click", () => this.toggle());
    this.panel.addEventListener("keydown", (/** @type {KeyboardEvent} */ e) => this.#escape(e));
    document.addEventListener("pointerdown", (e) => this.#outside(e));
    NARROW.addEventListener("change", () => this.#narrowed());
    this.#show(this.open); // as the early script has left it
  }

  get open() {
    return ROOT.dataset[this.panel.id] === "open";
  }

  toggle(open = !this.open) {
    this.#show(open);
    if (!NARROW.matches) remember(this.name, String(open));
    else if (open) this.panel.querySelector("button, input, a")?.focus();
  }

  /** After a choice in it a panel that covers the main part goes away. */
  done() {
    if (NARROW.matches) this.#show(false);
  }

  /** On a narrow screen a panel covers the page, so it begins closed. */
  #narrowed() {
    this.#show(!NARROW.matches && recall(this.name) === "true");
  }

  #show(/** @type {boolean} */ open) {
    ROOT.dataset[this.panel.id] = open ? "open" : "closed";
    this.button.setAttribute("aria-expanded", String(open));
  }

  #escape(/** @type {KeyboardEvent} */ event) {
    if (event.key !== "Escape" || !NARROW.matches) return;
    event.stopPropagation();
    this.toggle(false);
    this.button.focus();
  }

  #outside(/** @type {PointerEvent} */ event) {
    const target = /** @type {Node} */ (event.target);
    if (!this.panel.contains(target) && !this.button.contains(target)) this.done();
  }
}

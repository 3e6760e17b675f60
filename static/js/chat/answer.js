/** The text of an exchange as it grows: plain text nodes. */

import { element } from "../shared/dom.js";
import { GatheredText, textOf } from "./gathered.js";

/** A block is closed at the first line end after this many characters: laying out stays cheap. */
const BLOCK = 2000;

/** Shows text as it is, whatever it contains. */
export class PlainText extends GatheredText {
  #length = 0;
  #said = element("span", { class: "said" });

  /**
   * @param {HTMLElement} container
   * @param {string} prompt stands before the answer, in its own colour
   */
  constructor(container, prompt) {
    super();
    this.container = container;
    const shown = prompt && element("span", { class: "prompt" }, prompt);
    container.replaceChildren(element("div", { class: "block" }, shown, this.#said));
  }

  write(/** @type {import("./gathered.js").Piece[]} */ pieces) {
    let text = textOf(pieces);
    while (text) {
      const cut = text.indexOf("\n", Math.max(0, BLOCK - this.#length)) + 1;
      const part = cut ? text.slice(0, cut) : text;
      this.#said.append(part);
      this.#length += part.length;
      if (cut) this.#nextBlock();
      text = text.slice(part.length);
    }
  }

  /** After the last piece: many small text nodes become one per block. */
  end() {
    super.end();
    this.container.normalize();
  }

  #nextBlock() {
    this.#said.normalize();
    this.#said = element("span", { class: "said" });
    this.#length = 0;
    this.container.append(element("div", { class: "block" }, this.#said));
  }
}

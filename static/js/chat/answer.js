/** The text of an exchange as it grows: plain text nodes, at most one write per frame. */

import { element } from "../shared/dom.js";

/** A block is closed at the first line end after this many characters: laying out stays cheap. */
const BLOCK = 2000;

/** Shows text as it is, whatever it contains. */
export class PlainText {
  #pending = "";
  #frame = 0;
  #length = 0;
  #said = element("span", { class: "said" });

  /**
   * @param {HTMLElement} container
   * @param {string} prompt stands before the answer, in its own colour
   */
  constructor(container, prompt) {
    this.container = container;
    const shown = prompt && element("span", { class: "prompt" }, prompt);
    container.replaceChildren(element("div", { class: "block" }, shown, this.#said));
  }

  /** @param {{text: string}} piece */
  append(piece) {
    this.#pending += piece.text;
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** Writes what is pending now. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    let text = this.#pending;
    this.#pending = "";
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
    this.flush();
    this.container.normalize();
  }

  #nextBlock() {
    this.#said.normalize();
    this.#said = element("span", { class: "said" });
    this.#length = 0;
    this.container.append(element("div", { class: "block" }, this.#said));
  }
}

/** Text that comes in pieces and is written at most once per frame. */

/** @typedef {{text: string, logprobs?: any[]}} Piece */

/** What shows an answer while it grows; how it is written is its own matter. */
export class GatheredText {
  /** @type {Piece[]} */
  #pending = [];
  #frame = 0;

  append(/** @type {Piece} */ piece) {
    this.#pending.push(piece);
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** Writes what is pending now. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const pieces = this.#pending;
    this.#pending = [];
    this.write(pieces);
  }

  /** After the last piece. */
  end() {
    this.flush();
  }

  /** Puts pieces behind what is there. @abstract */
  write(/** @type {Piece[]} */ _) {}
}

/** @returns {string} the text of pieces */
export function textOf(/** @type {Piece[]} */ pieces) {
  return pieces.map((piece) => piece.text).join("");
}

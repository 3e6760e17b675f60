/** The tree beside the chain: which lines can be proven alone, and the checkpoint to keep. */

import { getJSON, Refused } from "../shared/api.js";
import { download, find } from "../shared/dom.js";
import { lines } from "../shared/format.js";

export class Tree {
  /** The newest line in the tree, as far as is known. */
  #last = -1;

  constructor() {
    this.state = find("#tree-state");
    this.keep = find("#keep");
  }

  /** Asks again while the log has a line that the tree has not. */
  async saw(/** @type {number} */ last) {
    if (last === this.#last || last === 0) return;
    try {
      const tree = await getJSON("logs/tree");
      if (tree.last !== this.#last) this.#tell(tree);
      this.#last = tree.last;
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // else there is none yet
    }
  }

  #tell(/** @type {any} */ { first, last, is_signed: isSigned, checkpoint }) {
    const covered = lines(first, last);
    this.state.textContent = `${covered.charAt(0).toUpperCase()}${covered.slice(1)} can be proven alone${isSigned ? ", signed" : ""}.`;
    this.keep.disabled = false;
    this.keep.onclick = () => download(checkpoint, `checkpoint-${last}`, "text/plain");
  }
}

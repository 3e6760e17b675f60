/** The tree beside the chain: which lines can be proven alone, and the checkpoint to keep. */

import { getJSON, Refused } from "../shared/api.js";
import { download, find } from "../shared/dom.js";
import { count, counted, lines } from "../shared/format.js";

export class Tree {
  /** The newest line in the tree, as far as is known. */
  #last = -1;
  /** Whether all whom the server gives the tree to have it. */
  #isLevel = true;

  constructor() {
    this.state = find("#tree-state");
    this.keep = find("#keep");
  }

  /** Asks again while the log has a line that the tree has not, or a witness has not seen all. */
  async saw(/** @type {number} */ last) {
    if ((last === this.#last && this.#isLevel) || last === 0) return;
    try {
      const tree = await getJSON("logs/tree");
      this.#tell(tree);
      this.#last = tree.last;
      this.#isLevel = outside(tree).every((each) => each.behind === 0);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // else there is none yet
    }
  }

  #tell(/** @type {any} */ tree) {
    const { first, last, is_signed: isSigned, checkpoint } = tree;
    const covered = lines(first, last);
    const alone = `${covered.charAt(0).toUpperCase()}${covered.slice(1)} can be proven alone${isSigned ? ", signed" : ""}.`;
    const text = [alone, ...outside(tree).map(sentence)].join(" ");
    if (text !== this.state.textContent) this.state.textContent = text;
    this.keep.disabled = false;
    this.keep.onclick = () => download(checkpoint, `checkpoint-${last}`, "text/plain");
  }
}

/** The bucket and the witnesses that the server gives the tree to. @returns {any[]} */
function outside(/** @type {any} */ { shipping, witnesses = [] }) {
  const named = witnesses.map((/** @type {any} */ each) => ({ ...each, verb: "Witnessed" }));
  return shipping ? [{ ...shipping, verb: "Shipped" }, ...named] : named;
}

/** Whom it was given to, and up to which line; and why it stopped there. */
function sentence(/** @type {any} */ { verb, name, seq, behind, problem }) {
  const way = verb === "Shipped" ? "to" : "by";
  const upTo = seq ? `${verb} ${way} ${name} up to line ${count(seq)}` : `Not yet ${verb.toLowerCase()} ${way} ${name}`;
  const lacks = behind && seq ? `, ${counted(behind, "newer line")} not yet` : "";
  return `${upTo}${lacks}${problem ? `: ${problem}` : ""}.`;
}

/** Replaying a record: its progress, and what came of it. */

import { Refused } from "../shared/api.js";
import { element } from "../shared/dom.js";
import { explainProblem, sentence } from "../shared/explain.js";
import { count, counted } from "../shared/format.js";
import { diff } from "./diff.js";
import { work } from "./work.js";

/**
 * Makes a record's text again and says whether it is the same.
 * @param {number} seq
 * @param {HTMLElement} place
 */
export async function replay(seq, place) {
  const bar = element("progress", { "aria-label": "Replaying" });
  const told = element("p", {}, "Making the text again…");
  place.replaceChildren(told, bar);
  try {
    const result = await work(`logs/records/${seq}/replay`, ({ done, total }) => {
      bar.max = total;
      bar.value = done;
      told.textContent = `Making the text again: ${count(done)} of ${counted(total, "token")}`;
    }, { method: "POST" });
    place.dataset.verdict = result.verdict;
    place.replaceChildren(...(result.verdict === "same" ? [sameText(result)] : difference(result)));
  } catch (error) {
    tellFailure(place, error);
  }
}

function sameText(/** @type {any} */ { text }) {
  const bytes = new TextEncoder().encode(text).length;
  return element("p", {}, `The same, byte for byte (${count(bytes)} bytes).`);
}

function difference(/** @type {any} */ { summary, recorded, text, at, changes }) {
  const causes = element("ul", {}, ...changes.map((/** @type {string} */ each) => element("li", {}, each)));
  const told = element("p", {}, sentence(summary));
  if (at === null) return [told, causes];
  const legend = element("p", { class: "hint" }, "Struck out: as recorded. Underlined: as made now.");
  return [told, causes, legend, element("p", { class: "body", dir: "auto" }, ...diff(recorded, text).map(partNode))];
}

function partNode(/** @type {import("./diff.js").Part} */ { kind, text: piece }) {
  return kind === "same" ? piece : element(kind === "added" ? "ins" : "del", {}, piece);
}

/** Says in a place of the page why something was refused; throws again whatever is no refusal. */
export function tellFailure(/** @type {HTMLElement} */ place, /** @type {unknown} */ error) {
  if (!(error instanceof Refused)) throw error;
  const { title, detail } = explainProblem(error.problem);
  place.replaceChildren(element("strong", {}, title), ` ${detail}`);
}

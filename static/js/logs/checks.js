/** Verifying the chain and replaying a record, with their progress. */

import { Refused } from "../shared/api.js";
import { element, find } from "../shared/dom.js";
import { explainProblem } from "../shared/explain.js";
import { ago, count, counted, moment, size } from "../shared/format.js";
import { diff } from "./diff.js";
import { work } from "./work.js";

/** Shows what the last verification found, by whoever asked for it. */
export function showChain(/** @type {any} */ verified) {
  if (verified && !find("#verify").disabled) tellChain(verified);
}

/** Walks the chain and says how far it is, then what was found. */
export async function verifyChain() {
  const [pressed, bar] = [find("#verify"), find("#chain-progress")];
  pressed.disabled = true;
  bar.hidden = false;
  bar.removeAttribute("value");
  find("#chain-state").textContent = "Verifying…";
  try {
    const result = await work("logs/verify", ({ done, total }) => {
      bar.max = total;
      bar.value = done;
      find("#chain-state").textContent = `Verifying: ${size(done)} of ${size(total)}`;
    });
    tellChain(result);
  } catch (error) {
    tellFailure(find("#chain-state"), error);
  }
  bar.hidden = true;
  pressed.disabled = false;
}

function tellChain(/** @type {any} */ result) {
  const state = find("#chain-state");
  find("#chain").dataset.ok = String(result.ok);
  const when = element("time", { datetime: result.at, title: moment(result.at) }, ago(Date.parse(result.at)));
  const text = result.ok ? wholeText(result) : `${brokenText(result)} Verified `;
  state.replaceChildren(text, when, ".");
}

function brokenText(/** @type {any} */ { file, line, reason }) {
  const where = file ? ` in ${file}${line ? `, line ${count(line)}` : ""}` : "";
  return `Broken${where}: ${reason}.`;
}

function wholeText(/** @type {any} */ { first, last, redacted = [] }) {
  if (!last) return "The log is empty. Verified ";
  const lines = first > 1 ? `lines ${count(first)} to ${count(last)}` : `all ${counted(last, "line")}`;
  const note = redacted.length ? ` (${count(redacted.length)} redacted, each by a record)` : "";
  return `Whole: ${lines}, nothing changed, nothing missing${note}. Verified `;
}

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
  const told = element("p", {}, `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`);
  if (at === null) return [told, causes];
  const legend = element("p", { class: "hint" }, "Struck out: as recorded. Underlined: as made now.");
  return [told, causes, legend, element("p", { class: "body", dir: "auto" }, ...diff(recorded, text).map(partNode))];
}

function partNode(/** @type {import("./diff.js").Part} */ { kind, text: piece }) {
  return kind === "same" ? piece : element(kind === "added" ? "ins" : "del", {}, piece);
}

function tellFailure(/** @type {HTMLElement} */ place, /** @type {unknown} */ error) {
  if (!(error instanceof Refused)) throw error;
  const { title, detail } = explainProblem(error.problem);
  place.replaceChildren(element("strong", {}, title), ` ${detail}`);
}

/** The models on this machine, and how to start each. */

import { getJSON, Refused } from "./api.js";
import { announce, button, copy, element, find } from "./dom.js";
import { explainProblem } from "./explain.js";
import { size } from "./format.js";

/** Opens the list; what cannot be read says why. */
export async function showModels() {
  const list = find("#models-list");
  list.replaceChildren(element("li", { class: "hint" }, "Looking…"));
  find("#models").showModal();
  try {
    const { serving, models } = await getJSON("models");
    const serves = (/** @type {any} */ each) => each.name === serving?.name;
    const listed = serving && !models.some(serves) ? [serving, ...models] : models;
    list.replaceChildren(...listed.map((/** @type {any} */ each) => item(each, serves(each))));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { title, detail } = explainProblem(error.problem);
    list.replaceChildren(element("li", {}, `${title} ${detail}`));
  }
}

function item(/** @type {any} */ { name, size: bytes, license }, /** @type {boolean} */ serves) {
  const command = `minivault serve --model ${/^[\w./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`}`;
  const facts = [bytes && size(bytes), license, serves && "serves now"].filter(Boolean).join(" · ");
  const how = element("span", { class: "row" },
    element("code", {}, command),
    button("Copy", () => copy(command).then(() => announce("Copied")), { class: "quiet", "aria-label": `Copy the command that starts ${name}` }));
  return element("li", { class: serves && "serves" }, element("strong", {}, name), element("small", {}, facts), !serves && how);
}

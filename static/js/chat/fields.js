/** One control for each parameter, made from its JSON schema. */

import { element, icon } from "../shared/dom.js";
import { labelOf } from "../shared/explain.js";

/**
 * @typedef {Object} Field
 * @property {HTMLElement} node
 * @property {() => any} read the value for a request; undefined leaves it out
 * @property {(value: any) => void} write
 */

/** Sliders of such ranges are followed by steps that fit the default. @type {Record<string, number>} */
const WIDEST = { integer: 1, number: 0.05 };
const LIKELIEST = { title: "Show probabilities", description: "Colours each token by its probability; point at one, or use the arrow keys, for the alternatives." };

/**
 * @param {string} name
 * @param {any} schema of the parameter
 * @param {() => void} changed
 * @returns {Field}
 */
export function makeField(name, schema, changed) {
  if (name === "seed") return seedField(schema, changed);
  if (name === "top_logprobs") return switchField(name, LIKELIEST, changed, Math.min(5, schema.maximum));
  if (schema.type === "boolean") return switchField(name, schema, changed);
  if (schema.type === "array") return listField(name, schema, changed);
  return numberField(name, schema, changed);
}

/** A slider with a number beside it. @returns {Field} */
function numberField(/** @type {string} */ name, /** @type {any} */ schema, /** @type {() => void} */ changed) {
  const step = WIDEST[schema.type];
  const low = schema.minimum ?? schema.exclusiveMinimum + step;
  const limits = { min: low, max: schema.maximum ?? 1024, step };
  const slider = element("input", { type: "range", ...limits, "aria-label": `${labelOf(name)}, slider` });
  const number = element("input", { type: "number", id: idOf(name), name, ...limits, step: schema.type === "integer" ? 1 : "any", "aria-describedby": `${name}-help`, required: true });
  const write = (/** @type {any} */ value) => (slider.value = number.value = value);
  slider.oninput = () => (write(slider.value), changed());
  number.oninput = () => ((slider.value = number.value), changed());
  const node = element("div", { class: "field" }, labelFor(name, labelOf(name)), number, slider, help(name, schema));
  return { node, read: () => (number.value === "" ? undefined : Number(number.value)), write };
}

/** One text per line. @returns {Field} */
function listField(/** @type {string} */ name, /** @type {any} */ schema, /** @type {() => void} */ changed) {
  const area = element("textarea", { id: idOf(name), name, rows: 2, "aria-describedby": `${name}-help`, oninput: changed, spellcheck: "false", placeholder: "one per line, \\n for a line end" });
  const read = () => area.value.split("\n").filter(Boolean).map(unescaped);
  const write = (/** @type {string[]} */ list = []) => (area.value = list.map(escaped).join("\n"));
  return { node: element("div", { class: "field wide" }, labelFor(name, `${labelOf(name)} strings`), area, help(name, schema)), read, write };
}

/** Drawn anew each time, unless it is locked. @returns {Field} */
function seedField(/** @type {any} */ schema, /** @type {() => void} */ changed) {
  const { maximum } = schema.anyOf.find((/** @type {any} */ each) => each.type === "integer");
  const number = element("input", { type: "number", id: idOf("seed"), name: "seed", min: 0, max: maximum, step: 1, placeholder: "random", "aria-describedby": "seed-help" });
  const lock = element("button", { type: "button", class: "quiet square lock", "aria-pressed": "false", "aria-label": "Lock the seed", title: "Lock the seed" }, icon("lock"));
  const press = (/** @type {boolean} */ on) => lock.setAttribute("aria-pressed", String(on));
  const locked = () => lock.getAttribute("aria-pressed") === "true";
  lock.onclick = () => (press(!locked()), changed());
  number.oninput = () => (press(number.value !== ""), changed());
  const node = element("div", { class: "field" }, labelFor("seed", "Seed"), element("span", { class: "with-lock" }, number, lock), help("seed", schema));
  return {
    node,
    read: () => (locked() && number.value !== "" ? Number(number.value) : undefined),
    write(value) {
      if (value?.seen !== undefined) return locked() || (number.value = value.seen);
      number.value = value ?? "";
      press(value !== undefined && value !== null);
    },
  };
}

/** On or off; a number is asked for where it is on. @returns {Field} */
function switchField(/** @type {string} */ name, /** @type {any} */ schema, /** @type {() => void} */ changed, asked = 0) {
  const box = element("input", { type: "checkbox", role: "switch", id: idOf(name), name, onchange: changed, "aria-describedby": `${name}-help` });
  const node = element("div", { class: "field" }, labelFor(name, schema.title ?? labelOf(name)), box, help(name, schema));
  return { node, read: () => (asked ? (box.checked ? asked : undefined) : box.checked), write: (value) => (box.checked = Boolean(value)) };
}

function labelFor(/** @type {string} */ name, /** @type {string} */ text) {
  return element("label", { for: idOf(name) }, text);
}

/** Names alone could be those of other parts of the page. */
function idOf(/** @type {string} */ name) {
  return `parameter-${name}`;
}

function help(/** @type {string} */ name, /** @type {any} */ schema) {
  return element("p", { class: "help", id: `${name}-help` }, schema.description);
}

function escaped(/** @type {string} */ text) {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

function unescaped(/** @type {string} */ text) {
  const meanings = /** @type {Record<string, string>} */ ({ n: "\n", t: "\t", "\\": "\\" });
  return text.replace(/\\([nt\\])/g, (_, letter) => meanings[letter]);
}

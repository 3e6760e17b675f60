/** The controls of the parameters, made from the schema that validates them. */

import { button, element, find } from "../shared/dom.js";
import { recall, remember } from "../shared/storage.js";
import { makeField } from "./fields.js";
import { PRESETS, presetOf, presetValues } from "./presets.js";

const STORED = "minivault.controls";
/** How long a text may get that is only continued; an answer may get as long as the context. */
const USUAL_LENGTH = 320;

/** Fires "change" when a value has changed, "tokens" when the probability view goes on or off. */
export class Controls extends EventTarget {
  /** @type {Record<string, import("./fields.js").Field>} */
  #fields = {};
  /** What the schema has. @type {Record<string, any>} */
  #schema = {};
  /** What holds where nothing was chosen: what the model's makers recommend, else the schema's. @type {Record<string, any>} */
  #defaults = {};
  /** @type {Record<string, any>} */
  #chosen = {};
  #tokens = false;

  constructor() {
    super();
    this.form = find("#parameters");
    this.contextBox = find("#context");
    this.formatBox = find("#formatted");
    for (const [name, schema] of JSON.parse(this.form.dataset.parameters)) this.#add(name, schema);
    Object.assign(this.#schema, { max_tokens: USUAL_LENGTH, end_at_sentence: true });
    this.#defaults = this.#schema;
    this.#addPresets();
    this.contextBox.onchange = () => this.#changed();
    this.formatBox.onchange = () => (this.#changed(), this.dispatchEvent(new Event("tokens")));
    this.#restore();
  }

  /** The parameters that were chosen, as the server names them. */
  values() {
    return { ...this.#chosen };
  }

  /** What is shown where nothing was chosen. It depends on the model. */
  get usual() {
    return { ...this.#defaults };
  }

  /** False while a field holds something that the server would refuse; shows which. */
  valid() {
    return this.form.reportValidity();
  }

  get showsTokens() {
    return this.#fields.top_logprobs.read() !== undefined;
  }

  /** Whether Markdown is shown as what it means. */
  get formats() {
    return this.formatBox.checked;
  }

  /** @returns {"alone" | "above"} */
  get context() {
    return this.contextBox.checked ? "above" : "alone";
  }

  /** Shows the seed of the last answer, which can then be locked. */
  sawSeed(/** @type {number | undefined} */ seed) {
    if (seed !== undefined) this.#fields.seed.write({ seen: seed });
  }

  /** Fits the length to the model, and what was not chosen to what its makers recommend. */
  modelIs(/** @type {{contextLength: number, chat: boolean, recommended: Record<string, number>}} */ { contextLength, chat, recommended }) {
    if (!contextLength) return;
    for (const input of this.#fields.max_tokens.node.querySelectorAll("input")) input.max = String(contextLength);
    const before = this.#defaults;
    const known = Object.entries(recommended).filter(([name]) => name in this.#fields);
    const max_tokens = chat ? contextLength : Math.min(USUAL_LENGTH, contextLength);
    this.#defaults = { ...this.#schema, ...Object.fromEntries(known), max_tokens };
    const changed = Object.entries(this.#defaults).filter(([name, value]) => !(name in this.#chosen) && !same(value, before[name]));
    this.#write(Object.fromEntries(changed));
    this.#mark();
  }

  #add(/** @type {string} */ name, /** @type {any} */ schema) {
    this.#schema[name] = schema.default ?? undefined;
    this.#fields[name] = makeField(name, schema, () => this.#changed([name]));
    this.form.append(this.#fields[name].node);
  }

  #addPresets() {
    const names = Object.keys(PRESETS);
    this.presets = names.map((name) => button(name, () => this.#preset(name), { "aria-pressed": "false" }));
    const reset = button("Reset all", () => this.#reset(), { class: "quiet" });
    this.form.prepend(element("div", { class: "presets", role: "group", "aria-label": "Presets" }, ...this.presets));
    this.form.append(reset);
  }

  #preset(/** @type {string} */ name) {
    const values = presetValues(name, this.#defaults);
    this.#write(values);
    this.#changed(Object.keys(values));
  }

  #reset() {
    this.#write(this.#defaults);
    this.#changed(Object.keys(this.#fields));
  }

  #write(/** @type {Record<string, any>} */ values) {
    for (const [name, value] of Object.entries(values)) this.#fields[name]?.write(value);
  }

  #changed(/** @type {string[]} */ names = []) {
    for (const name of names) {
      const value = this.#fields[name].read();
      if (value === undefined || same(value, this.#defaults[name])) delete this.#chosen[name];
      else this.#chosen[name] = value;
    }
    remember(STORED, JSON.stringify({ chosen: this.#chosen, context: this.context, formats: this.formats }));
    this.#mark();
    if (this.#tokens !== this.showsTokens) this.dispatchEvent(new Event("tokens"));
    this.#tokens = this.showsTokens;
    this.dispatchEvent(new Event("change"));
  }

  #restore() {
    const { chosen, values = {}, context, formats = true } = JSON.parse(recall(STORED) ?? "{}");
    const differs = (/** @type {[string, any]} */ [name, value]) => !same(value, this.#schema[name]);
    // Earlier pages kept all values, chosen or not.
    this.#chosen = chosen ?? Object.fromEntries(Object.entries(values).filter(differs));
    this.#write({ ...this.#defaults, ...this.#chosen });
    this.contextBox.checked = context === "above";
    this.formatBox.checked = formats;
    this.#tokens = this.showsTokens;
    this.#mark();
  }

  #mark() {
    const name = presetOf({ ...this.#defaults, ...this.#chosen }, this.#defaults);
    for (const each of this.presets ?? []) each.setAttribute("aria-pressed", String(each.textContent === name));
  }
}

function same(/** @type {any} */ one, /** @type {any} */ other) {
  return String(one ?? "") === String(other ?? "");
}

/** The controls of the parameters, made from the schema that validates them. */

import { button, element, find } from "../shared/dom.js";
import { makeField } from "./fields.js";
import { PRESETS, presetOf, presetValues } from "./presets.js";

const STORED = "minivault.parameters";

/** Fires "change" when a value has changed, "tokens" when the probability view goes on or off. */
export class Controls extends EventTarget {
  /** @type {Record<string, import("./fields.js").Field>} */
  #fields = {};
  /** @type {Record<string, any>} */
  #defaults = {};
  #tokens = false;

  constructor() {
    super();
    this.form = find("#parameters");
    this.contextBox = find("#context");
    for (const [name, schema] of JSON.parse(this.form.dataset.parameters)) this.#add(name, schema);
    this.#addPresets();
    this.contextBox.onchange = () => this.#changed();
    this.#restore();
  }

  /** Parameters for a request, as the server names them. */
  values() {
    const values = Object.entries(this.#fields).map(([name, field]) => [name, field.read()]);
    return Object.fromEntries(values.filter(([, value]) => value !== undefined));
  }

  /** False while a field holds something that the server would refuse; shows which. */
  valid() {
    return this.form.reportValidity();
  }

  get showsTokens() {
    return this.#fields.top_logprobs.read() !== undefined;
  }

  /** @returns {"alone" | "above"} */
  get context() {
    return this.contextBox.checked ? "above" : "alone";
  }

  /** Shows the seed of the last answer, which can then be locked. */
  sawSeed(/** @type {number | undefined} */ seed) {
    if (seed !== undefined) this.#fields.seed.write({ seen: seed });
  }

  /** Fits the length slider to the model. */
  contextLengthIs(/** @type {number} */ tokens) {
    for (const input of this.#fields.max_tokens.node.querySelectorAll("input"))
      if (tokens) input.max = String(tokens);
  }

  #add(/** @type {string} */ name, /** @type {any} */ schema) {
    this.#defaults[name] = schema.default ?? undefined;
    this.#fields[name] = makeField(name, schema, () => this.#changed());
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
    this.#write(presetValues(name, this.#defaults));
    this.#changed();
  }

  #reset() {
    this.#write(this.#defaults);
    this.#changed();
  }

  #write(/** @type {Record<string, any>} */ values) {
    for (const [name, value] of Object.entries(values)) this.#fields[name]?.write(value);
  }

  #changed() {
    const values = this.values();
    localStorage.setItem(STORED, JSON.stringify({ values, context: this.context }));
    this.#mark(values);
    if (this.#tokens !== this.showsTokens) this.dispatchEvent(new Event("tokens"));
    this.#tokens = this.showsTokens;
    this.dispatchEvent(new Event("change"));
  }

  #restore() {
    const { values = {}, context } = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    this.#write({ ...this.#defaults, ...values });
    this.contextBox.checked = context === "above";
    this.#tokens = this.showsTokens;
    this.#mark(this.values());
  }

  #mark(/** @type {Record<string, any>} */ values) {
    const name = presetOf(values, this.#defaults);
    for (const each of this.presets ?? []) each.setAttribute("aria-pressed", String(each.textContent === name));
  }
}

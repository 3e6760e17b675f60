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
  /** @type {Record<string, any>} */
  #defaults = {};
  #tokens = false;
  /** The length that a text may have where nobody has chosen one. */
  usualLength = USUAL_LENGTH;

  constructor() {
    super();
    this.form = find("#parameters");
    this.contextBox = find("#context");
    this.formatBox = find("#formatted");
    for (const [name, schema] of JSON.parse(this.form.dataset.parameters)) this.#add(name, schema);
    Object.assign(this.#defaults, { max_tokens: this.usualLength, end_at_sentence: true });
    this.#addPresets();
    this.contextBox.onchange = () => this.#changed();
    this.formatBox.onchange = () => (this.#changed(), this.dispatchEvent(new Event("tokens")));
    this.#restore();
  }

  /** Parameters for a request, as the server names them; a length only where one was chosen. */
  values() {
    const values = Object.entries(this.#fields).map(([name, field]) => [name, field.read()]);
    const isUsual = (/** @type {any[]} */ [name, value]) => name === "max_tokens" && value === this.usualLength;
    return Object.fromEntries(values.filter((each) => each[1] !== undefined && !isUsual(each)));
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

  /** Fits the length to the model. */
  modelIs(/** @type {{contextLength: number, chat: boolean}} */ { contextLength, chat }) {
    if (!contextLength) return;
    for (const input of this.#fields.max_tokens.node.querySelectorAll("input")) input.max = String(contextLength);
    const chosen = this.values().max_tokens;
    this.usualLength = chat ? contextLength : Math.min(USUAL_LENGTH, contextLength);
    this.#defaults.max_tokens = this.usualLength;
    if (chosen === undefined) this.#write({ max_tokens: this.usualLength });
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
    remember(STORED, JSON.stringify({ values, context: this.context, formats: this.formats }));
    this.#mark(values);
    if (this.#tokens !== this.showsTokens) this.dispatchEvent(new Event("tokens"));
    this.#tokens = this.showsTokens;
    this.dispatchEvent(new Event("change"));
  }

  #restore() {
    const { values = {}, context, formats = true } = JSON.parse(recall(STORED) ?? "{}");
    this.#write({ ...this.#defaults, ...values });
    this.contextBox.checked = context === "above";
    this.formatBox.checked = formats;
    this.#tokens = this.showsTokens;
    this.#mark(this.values());
  }

  #mark(/** @type {Record<string, any>} */ values) {
    const name = presetOf(values, this.#defaults);
    for (const each of this.presets ?? []) each.setAttribute("aria-pressed", String(each.textContent === name));
  }
}

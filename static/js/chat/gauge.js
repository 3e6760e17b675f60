/** How much of the model's context is taken. */

import { find } from "../shared/dom.js";
import { count } from "../shared/format.js";

/** Characters per token of English text, until an answer has told better. */
const USUAL_RATIO = 4;
const LEAST_RATIO = 0.5;

export class Gauge {
  #ratio = USUAL_RATIO;

  /** @param {import("./chat.js").Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.node = find("#gauge");
    this.meter = find("meter", this.node);
    this.text = find("span", this.node);
  }

  /** Shows what the text in the composer would take, or what the last answer took. */
  show(/** @type {string} */ draft) {
    const total = this.chat.server.contextLength;
    const last = this.chat.conversation.path().at(-1);
    this.node.hidden = !total || (!last && !draft);
    if (this.node.hidden) return;
    const exact = draft ? 0 : tokensOf(last, this.chat.running);
    const taken = exact || this.#estimate(draft, last);
    this.meter.max = total;
    this.meter.high = 0.9 * total;
    this.meter.value = taken;
    const state = taken >= total ? "full" : taken > 0.9 * total ? "nearly full" : "";
    this.node.dataset.state = state;
    this.node.title = state && "What is too much for the model is told when you send; the oldest part can be left out.";
    const figures = `${exact ? "" : "≈ "}${count(taken)} of ${count(total)} tokens`;
    this.text.textContent = state ? `${figures}: ${state}` : figures;
  }

  /** What stands above was counted, unless it was refused; what was not is taken to be like what was answered. */
  #estimate(/** @type {string} */ draft, /** @type {any} */ last) {
    const { conversation, server, controls, running } = this.chat;
    const said = last?.end?.usage?.completion_tokens;
    if (said) this.#ratio = Math.max(LEAST_RATIO, last.text.length / said);
    const isSent = server.chat || controls.context === "above";
    const counted = isSent ? tokensOf(last, running) : 0;
    const above = isSent && !counted ? conversation.textThrough(last?.id ?? null).length - (last?.skip ?? 0) : 0;
    return counted + Math.ceil((above + draft.length) / this.#ratio);
  }
}

/** @returns {number} what an exchange takes, prompt and answer; 0 while unknown */
export function tokensOf(/** @type {any} */ exchange, /** @type {any} */ run = undefined) {
  const prompt = exchange?.start?.prompt_tokens;
  if (!prompt) return 0;
  return prompt + (exchange.end?.usage?.completion_tokens ?? run?.tokens ?? 0);
}

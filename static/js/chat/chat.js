/** What the chat page is about: the conversation on display and the answers being written. */

import { newKey } from "./stream.js";
import { Run } from "./run.js";

/** @typedef {import("./conversation.js").Exchange} Exchange */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("../shared/server.js").Server} Server */

/** Fires "shown" when other exchanges are on display, "runs" when one begins, ends or waits. */
export class Chat extends EventTarget {
  /** @type {Map<string, Run>} by exchange; they go on when another conversation is opened */
  runs = new Map();
  /** @type {Set<string>} answers that the server could not write into its log yet */
  #unwritten = new Set();

  /**
   * @param {import("./store.js").Store} store
   * @param {Server} server
   * @param {import("./controls.js").Controls} controls
   */
  constructor(store, server, controls) {
    super();
    this.store = store;
    this.server = server;
    this.controls = controls;
    this.conversation = store.create();
    server.addEventListener("change", () => this.#writtenLate());
    store.addEventListener("elsewhere", (e) => this.#elsewhere(/** @type {CustomEvent} */ (e).detail));
  }

  /** The answer being written in the conversation on display, if any. */
  get running() {
    const runs = [...this.runs.values()];
    return runs.find((run) => run.exchange.conversation === this.conversation.head.id);
  }

  /** Shows a stored conversation and goes on with whatever in it is not finished. */
  async open(/** @type {string} */ id) {
    const conversation = await this.store.load(id);
    if (!conversation) return this.fresh();
    for (const run of this.runs.values())
      if (run.exchange.conversation === id) conversation.add(run.exchange);
    this.conversation = conversation;
    for (const each of conversation.exchanges.values())
      if (each.state === "open" && !this.runs.has(each.id)) this.#run(each);
    this.#shown();
  }

  fresh() {
    this.conversation = this.store.create();
    this.#shown();
  }

  /** A new prompt below what is on display. */
  send(/** @type {string} */ prompt) {
    const context = this.server.chat ? "above" : this.controls.context;
    const parent = this.conversation.path().at(-1)?.id ?? null;
    return this.#begin({ parent, prompt, context, params: this.controls.values() });
  }

  /** The model writes on from its own text. */
  continue(/** @type {Exchange} */ exchange) {
    const params = this.controls.values();
    return this.#begin({ parent: exchange.id, prompt: "", context: "above", kind: "continuation", params });
  }

  /** The same prompt with the controls as they are now, and another seed. */
  regenerate(/** @type {Exchange} */ exchange) {
    return this.#begin({ ...alike(exchange), params: { ...this.controls.values(), seed: undefined } });
  }

  /** Exactly the same request again: the same text comes out, with probabilities if they are shown. */
  retry(/** @type {Exchange} */ exchange) {
    const seed = exchange.start?.seed ?? exchange.params.seed;
    const { top_logprobs } = this.controls.values();
    return this.#begin({ ...alike(exchange), params: { ...exchange.params, seed, top_logprobs } });
  }

  /** Another prompt in the place of this one; the earlier answers stay as alternatives. */
  edit(/** @type {Exchange} */ exchange, /** @type {Partial<Exchange>} */ change) {
    return this.#begin({ ...alike(exchange), params: this.controls.values(), ...change });
  }

  /** Shows another alternative of an exchange. */
  async show(/** @type {Exchange} */ exchange) {
    this.conversation.show(exchange);
    this.#shown();
    await this.store.saveHead(this.conversation.head);
  }

  async #begin(/** @type {any} */ given) {
    if (this.running) return;
    /** @type {Exchange} */
    const exchange = {
      id: newKey(),
      conversation: this.conversation.head.id,
      created: Date.now(),
      kind: "prompt",
      key: newKey(),
      state: "open",
      text: "",
      lastEventId: "",
      chat: this.server.chat,
      ...given,
    };
    const saved = this.store.add(this.conversation, exchange);
    this.#run(exchange);
    this.#shown();
    await saved;
  }

  #run(/** @type {Exchange} */ exchange) {
    const run = new Run(exchange, this.#request(exchange), (each) => this.store.save(each));
    this.runs.set(exchange.id, run);
    run.addEventListener("state", () => this.#changed());
    run.addEventListener("end", () => this.#ended(run));
    this.#changed();
  }

  #ended(/** @type {Run} */ run) {
    this.runs.delete(run.exchange.id);
    if (run.exchange.end?.error?.type === "log") this.#unwritten.add(run.exchange.id);
    this.controls.sawSeed(run.exchange.start?.seed);
    if (run.exchange.state !== "done" || !this.server.ready) this.#look();
    this.#changed();
  }

  /** Something went wrong: how the server is shall not be seen only at the next regular look. */
  async #look() {
    await this.server.poll();
    this.#writtenLate();
  }

  /** A server that can write again has written what it could not: that is what it waits for. */
  #writtenLate() {
    if (!this.server.ready) return;
    for (const each of this.conversation.exchanges.values())
      if (this.#unwritten.delete(each.id)) {
        each.end.error.written = true;
        this.store.save(each);
        this.#shown();
      }
  }

  /** What goes to the server; made from what is stored, so that a reload makes the same. */
  #request(/** @type {any} */ exchange) {
    const { conversation } = this;
    const text = exchange.chat
      ? { messages: conversation.messages(exchange) }
      : { prompt: conversation.sent(exchange) };
    return { ...text, ...exchange.params, key: exchange.key };
  }

  #elsewhere(/** @type {string} */ id) {
    if (id === this.conversation.head.id && this.conversation.head.title) this.open(id);
  }

  #shown() {
    this.dispatchEvent(new Event("shown"));
  }

  #changed() {
    this.dispatchEvent(new Event("runs"));
  }
}

/** What a new alternative has in common with an exchange. */
function alike(/** @type {Exchange} */ { parent, prompt, context, kind }) {
  return { parent, prompt, context, kind };
}

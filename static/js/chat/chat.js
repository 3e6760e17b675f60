/** What the chat page is about: the conversation on display and the answers being written. */

import { getJSON } from "../shared/api.js";
import { encoded, sharedFile } from "./share.js";
import { newKey } from "./stream.js";
import { tokensOf } from "./gauge.js";
import { Run } from "./run.js";
import { isFull, slid } from "./window.js";

/** @typedef {import("./conversation.js").Exchange} Exchange */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("../shared/server.js").Server} Server */

/** Fires "shown" when other exchanges are on display, "runs" when one begins, ends or waits. */
export class Chat extends EventTarget {
  /** @type {Map<string, Run>} by exchange; they go on when another conversation is opened */
  runs = new Map();
  /** @type {Set<string>} answers that the server could not write into its log yet */
  #unwritten = new Set();
  /** @type {Set<Conversation>} those whose newest exchange is being kept, and goes out then */
  #beginning = new Set();
  /** The conversation that is to be on display: one that is loaded when another is wanted is not shown. */
  #wanted;

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
    this.#wanted = this.conversation.head.id;
    server.addEventListener("change", () => this.#writtenLate());
    store.addEventListener("elsewhere", (e) => this.#elsewhere(/** @type {CustomEvent} */ (e).detail));
  }

  /** The answer being written in the conversation on display, if any. */
  get running() {
    const runs = [...this.runs.values()];
    return runs.find((run) => run.exchange.conversation === this.conversation.head.id);
  }

  /** Whether the conversation on display takes nothing new now. */
  get busy() {
    return Boolean(this.running) || this.#beginning.has(this.conversation);
  }

  /** Shows a stored conversation and goes on with whatever in it is not finished. */
  async open(/** @type {string} */ id) {
    this.#wanted = id;
    const conversation = await this.store.load(id);
    if (this.#wanted !== id) return;
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
    this.#wanted = this.conversation.head.id;
    this.#shown();
  }

  /** A new prompt below what is on display. */
  send(/** @type {string} */ prompt) {
    const last = this.conversation.path().at(-1);
    const context = this.controls.context;
    const place = { parent: last?.id ?? null, context, skip: last?.skip };
    return this.#begin({ ...place, prompt, system: this.#system, params: this.controls.values() });
  }

  /** How the model is to answer in the conversation on display; "" leaves it to the model. */
  get system() {
    return this.conversation.head.system ?? "";
  }

  set system(/** @type {string} */ text) {
    const { head } = this.conversation;
    head.system = text;
    if (head.title) this.store.saveHead(head);
  }

  get #system() {
    return this.system || undefined;
  }

  /** The model writes on from its own text; where that fills the context, from the latest part of it. */
  continue(/** @type {Exchange} */ exchange) {
    const params = this.controls.values();
    const { id, skip, chat, system } = exchange;
    const next = { parent: id, prompt: "", context: "above", kind: "continuation", skip, chat, system, params };
    const tokens = tokensOf(exchange);
    const context = this.server.contextLength;
    if (tokens && isFull(tokens, params.max_tokens ?? this.controls.usual.max_tokens, context))
      next.skip = slid(this.conversation, /** @type {any} */ (next), tokens, context);
    return this.#begin(next);
  }

  /** The same prompt with the controls as they are now, and another seed. */
  regenerate(/** @type {Exchange} */ exchange) {
    const params = { ...this.controls.values(), seed: undefined };
    return this.#begin({ ...alike(exchange), system: this.#system, params });
  }

  /** Exactly the same request again: the same text comes out, with probabilities if they are shown. */
  retry(/** @type {Exchange} */ exchange) {
    const seed = exchange.start?.seed ?? exchange.params.seed;
    const { top_logprobs } = this.controls.values();
    return this.#begin({ ...alike(exchange), params: { ...exchange.params, seed, top_logprobs } });
  }

  /** A text is written in: the model goes on from what stands there now; the earlier one stays. */
  rewrite(/** @type {Exchange} */ exchange, /** @type {string} */ text) {
    return this.edit(this.conversation.begin(exchange), { prompt: text });
  }

  /** Another prompt in the place of this one; the earlier answers stay as alternatives. */
  edit(/** @type {Exchange} */ exchange, /** @type {Partial<Exchange>} */ change) {
    return this.#begin({ ...alike(exchange), system: this.#system, params: this.controls.values(), ...change });
  }

  /** The same again without what came first: it was refused because it has so many tokens. */
  goOn(/** @type {Exchange} */ exchange, /** @type {number} */ tokens) {
    const skip = slid(this.conversation, exchange, tokens, this.server.contextLength);
    return this.#begin({ ...alike(exchange), params: exchange.params, skip });
  }

  /** A prompt that found no room goes into a conversation of its own. */
  moveOut(/** @type {Exchange} */ exchange) {
    const { system } = this;
    this.fresh();
    this.system = system;
    return this.send(exchange.prompt);
  }

  /** An answer as a file, with its line in the log and, where the server gives one, its proof. Throws Refused. */
  async shared(/** @type {Exchange} */ exchange) {
    const { seq } = exchange.end.receipt;
    const found = await getJSON(`logs/records/${seq}`);
    const proof = await fetch(`logs/records/${seq}/proof`).catch(() => null);
    const proven = proof?.ok ? encoded(new Uint8Array(await proof.arrayBuffer())) : null;
    return sharedFile(found, proven, { prompt: this.conversation.sent(exchange), text: exchange.text });
  }

  /** Shows another alternative of an exchange. */
  async show(/** @type {Exchange} */ exchange) {
    this.conversation.show(exchange);
    this.#shown();
    await this.store.saveHead(this.conversation.head);
  }

  /** Nothing goes out before it is kept here: a reload at any moment finds the prompt or the exchange. */
  async #begin(/** @type {any} */ given) {
    if (this.busy) return;
    const { conversation } = this;
    this.#beginning.add(conversation);
    /** @type {Exchange} */
    const exchange = {
      id: newKey(),
      conversation: conversation.head.id,
      created: Date.now(),
      kind: "prompt",
      key: newKey(),
      state: "open",
      text: "",
      lastEventId: "",
      ...given,
    };
    // Short enough to be read; kept with the rest, so that every tab and reload makes this request.
    exchange.params.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
    await this.store.add(conversation, exchange).finally(() => this.#beginning.delete(conversation));
    this.#run(exchange, conversation);
    this.#shown();
  }

  #run(/** @type {Exchange} */ exchange, conversation = this.conversation) {
    const run = new Run(exchange, (each) => this.store.save(each));
    this.runs.set(exchange.id, run);
    run.addEventListener("state", () => {
      if (run.connection === "lost" && this.server.ready) this.#look();
      this.#changed();
    });
    run.addEventListener("end", () => this.#ended(run));
    const send = () => this.#send(run, conversation);
    this.server.addEventListener("change", send);
    run.addEventListener("end", () => this.server.removeEventListener("change", send));
    send();
    this.#changed();
  }

  /** Nothing goes out before it is known what the model takes: turns, or a text to continue. */
  #send(/** @type {Run} */ run, /** @type {import("./conversation.js").Conversation} */ conversation) {
    const { exchange } = run;
    if (run.sent) return;
    if (!exchange.lastEventId && !this.server.known)
      return run.connectionChanged("held", this.server.state.detail ?? "it is not known yet which model serves");
    if (!exchange.lastEventId) this.#decide(exchange);
    const text = exchange.chat
      ? { messages: conversation.messages(exchange) }
      : { prompt: conversation.sent(exchange) };
    run.send({ ...text, ...exchange.params, key: exchange.key });
  }

  /** Fills in what depends on the model; stored, so that a reload makes the same request. */
  #decide(/** @type {Exchange} */ exchange) {
    exchange.chat ??= this.server.chat;
    exchange.params = { ...this.controls.usual, ...exchange.params };
    if (exchange.chat) exchange.context = "above", delete exchange.params.end_at_sentence;
    if (exchange.context === "alone") exchange.skip = 0;
    this.store.save(exchange);
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

  #elsewhere(/** @type {string} */ id) {
    if (id === this.#wanted && this.conversation.head.title) this.open(id);
  }

  #shown() {
    this.dispatchEvent(new Event("shown"));
  }

  #changed() {
    this.dispatchEvent(new Event("runs"));
  }
}

/** What a new alternative has in common with an exchange. */
function alike(/** @type {Exchange} */ { parent, prompt, context, kind, skip, system }) {
  return { parent, prompt, context, kind, skip, system };
}

/** An exchange whose answer is being written: the stream, what it has brought, and how fast. */

import { Stream } from "./stream.js";

const SAVE_MS = 1000;

/** @typedef {import("./conversation.js").Exchange} Exchange */

/**
 * Fires "piece" (detail: text and logprobs), "state" when anything else has changed, "end" once.
 */
export class Run extends EventTarget {
  /** @type {"connecting" | "open" | "queued" | "lost" | "held"} */
  connection = "connecting";
  reason = "";
  position = 0;
  tokens = 0;
  #began = performance.now();
  #first = 0;
  #saved = 0;

  /** @type {Stream | null} */
  #stream = null;

  /**
   * @param {Exchange} exchange with state "open"; it is kept up to date
   * @param {(exchange: Exchange) => void} save
   */
  constructor(exchange, save) {
    super();
    this.exchange = exchange;
    this.save = save;
  }

  get sent() {
    return this.#stream !== null;
  }

  send(/** @type {any} */ request) {
    this.#stream = new Stream(request, this, this.exchange.lastEventId);
    this.#stream.open();
  }

  stop() {
    if (this.#stream) this.#stream.stop();
    else this.end("stopped", { finish_reason: "cancelled" });
  }

  /** Milliseconds from sending to the first text, 0 before it. */
  get firstTokenMs() {
    return this.#first && this.#first - this.#began;
  }

  /** Tokens per second since the first one, as the page saw them come. */
  get speed() {
    const seconds = (performance.now() - this.#first) / 1000;
    return this.tokens > 1 && seconds > 0.1 ? (this.tokens - 1) / seconds : 0;
  }

  start(/** @type {any} */ data, /** @type {string} */ eventId) {
    this.exchange.start = data;
    this.exchange.lastEventId = eventId;
    this.#opened();
    this.save(this.exchange);
  }

  piece(/** @type {any} */ data, /** @type {string} */ eventId) {
    this.#first ||= performance.now();
    this.tokens += data.logprobs?.length || 1;
    this.exchange.text += data.text;
    this.exchange.lastEventId = eventId;
    if (data.logprobs) (this.exchange.pieces ??= []).push(data);
    if (this.connection !== "open") this.#opened();
    this.dispatchEvent(new CustomEvent("piece", { detail: data }));
    this.#saveSometimes();
  }

  queued(/** @type {number} */ position) {
    this.position = position;
    this.#state("queued");
  }

  connectionChanged(/** @type {"open" | "lost" | "held"} */ state, reason = "") {
    this.reason = reason;
    this.#state(state);
  }

  end(/** @type {any} */ kind, /** @type {any} */ data) {
    this.exchange.state = kind;
    this.exchange.end = data;
    this.save(this.exchange);
    this.dispatchEvent(new Event("end"));
  }

  #opened() {
    this.#state("open");
  }

  #state(/** @type {Run["connection"]} */ connection) {
    this.connection = connection;
    this.dispatchEvent(new Event("state"));
  }

  #saveSometimes() {
    if (performance.now() - this.#saved < SAVE_MS) return;
    this.#saved = performance.now();
    this.save(this.exchange);
  }
}

/** Follows one generation to its end, over lost connections, restarts and reloads. */

import { health, problemOf } from "../shared/api.js";
import { held } from "../shared/explain.js";
import { events } from "./sse.js";

/** Longer addresses go by POST: proxies commonly refuse request lines over 8 kB. */
const LONGEST_ADDRESS = 6000;
const STOP_TIMEOUT_MS = 3000;
const POLL_MS = 1000;
const NAMES = ["start", "queued", "done", "stopped", "failed", "gone"];

/**
 * @typedef {Object} Listener
 * @property {(data: any, eventId: string) => void} start
 * @property {(data: any, eventId: string) => void} piece
 * @property {(position: number) => void} queued
 * @property {(state: "open" | "lost" | "held", reason?: string) => void} connectionChanged
 * @property {(kind: string, data: any) => void} end kind: done, stopped, failed, gone or refused
 */

/** One generation, read by EventSource where its request fits an address, else by POST. */
export class Stream {
  #seen = -1;
  #closed = false;
  #stopping = false;
  #connected = false;
  /** @type {EventSource | null} */
  #source = null;
  #abort = new AbortController();

  /**
   * @param {any} request the fields of POST /generate, with a `key`
   * @param {Listener} listener
   * @param {string} lastEventId what was received before, "" for nothing
   */
  constructor(request, listener, lastEventId = "") {
    this.request = request;
    this.listener = listener;
    this.lastEventId = lastEventId;
    if (lastEventId) this.#seen = Number(lastEventId.split(".")[1]);
  }

  /** The generation's id, "" before the server has said it. */
  get id() {
    return this.lastEventId.split(".")[0];
  }

  open() {
    const address = this.#address();
    if (this.#closed) return;
    if (address) this.#listen(address);
    else this.#fetch();
  }

  /** Stops the server too. The end is reported when the server says so, or at the latest after 3 s. */
  stop() {
    this.#stopping = true;
    if (this.id) this.#cancel();
    else if (!this.#connected) this.#end("stopped", { finish_reason: "cancelled" });
  }

  /** Stops reading; the server notices and gives the generation some seconds. */
  close() {
    this.#closed = true;
    this.#source?.close();
    this.#abort.abort();
  }

  async #cancel() {
    setTimeout(() => this.#end("stopped", { finish_reason: "cancelled" }), STOP_TIMEOUT_MS);
    await fetch(`generate/${this.id}?${this.#key()}`, { method: "DELETE" }).catch(() => {});
    if (!this.#connected) this.#end("stopped", { finish_reason: "cancelled" });
  }

  /** Where to listen, or "" when only POST can carry the request. */
  #address() {
    const resume = this.lastEventId ? `lastEventId=${this.lastEventId}` : "";
    const address = `generate?${query(this.request)}${resume && `&${resume}`}`;
    if (!this.request.messages && address.length <= LONGEST_ADDRESS) return address;
    return resume && `generate/${this.id}?${resume}&${this.#key()}`;
  }

  /** Where a proxy before several servers sees it, and so finds the one that has the text. */
  #key() {
    return new URLSearchParams({ key: this.request.key ?? "" });
  }

  #listen(/** @type {string} */ address) {
    const source = new EventSource(address);
    this.#source = source;
    source.onopen = () => this.#opened();
    source.onmessage = (e) => this.#receive("message", e.data, e.lastEventId);
    for (const name of NAMES)
      source.addEventListener(name, (e) => this.#receive(name, e.data, e.lastEventId));
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.#fetch();
      else this.#lost();
    };
  }

  /** Reads by fetch, which unlike EventSource can tell why a server refuses. */
  async #fetch() {
    if (this.#closed) return;
    try {
      const response = await this.#request();
      if (response.status === 204) return this.#end("gone", {});
      if (!response.ok) return await this.#refused(await problemOf(response));
      this.#opened();
      for await (const e of events(/** @type {any} */ (response.body))) {
        this.#receive(e.event, e.data, e.id);
        if (this.#closed) return;
      }
    } catch (error) {
      if (!(error instanceof TypeError) && !(error instanceof DOMException)) throw error;
    }
    if (this.#closed) return;
    this.#lost();
    await this.#serverIsBack(0);
    this.open();
  }

  #request() {
    const signal = this.#abort.signal;
    const headers = { Accept: "text/event-stream", "Content-Type": "application/json" };
    if (this.id) return fetch(this.#address(), { headers, signal });
    return fetch(`generate?${this.#key()}`, { method: "POST", headers, signal, body: JSON.stringify(this.request) });
  }

  /** Not now (503) is waited for; anything else is the end. */
  async #refused(/** @type {import("../shared/api.js").Problem} */ problem) {
    if (problem.status !== 503) return this.#end("refused", problem);
    this.#connected = false;
    this.listener.connectionChanged("held", held(problem));
    await this.#serverIsBack(1000 * (problem.retryAfter ?? 2));
    this.open();
  }

  async #serverIsBack(/** @type {number} */ wait) {
    await pause(wait || POLL_MS);
    for (let state = await health(); !this.#closed; state = await health()) {
      if (state.status === "ready" || state.status === "locked") return;
      const answers = state.status !== "unreachable";
      this.listener.connectionChanged(answers ? "held" : "lost", state.detail);
      if (answers && this.id) return;
      await pause(POLL_MS);
    }
  }

  #opened() {
    this.#connected = true;
    if (!this.#closed) this.listener.connectionChanged("open");
  }

  #lost() {
    this.#connected = false;
    if (this.#closed) return;
    if (this.#stopping) this.#end("stopped", { finish_reason: "cancelled" });
    else this.listener.connectionChanged("lost");
  }

  #receive(/** @type {string} */ name, /** @type {string} */ text, /** @type {string} */ eventId) {
    if (this.#closed) return;
    const data = JSON.parse(text);
    if (name === "queued") return this.listener.queued(data.position);
    if (name === "gone") return this.#end("gone", data);
    if (data.resumable) return this.#lost();
    const index = Number(eventId.split(".")[1]);
    if (index <= this.#seen) return;
    this.#seen = index;
    this.lastEventId = eventId;
    this.#report(name, data);
  }

  #report(/** @type {string} */ name, /** @type {any} */ data) {
    if (name === "message") return this.listener.piece(data, this.lastEventId);
    if (name !== "start") return this.#end(name, data);
    this.listener.start(data, this.lastEventId);
    if (this.#stopping) this.#cancel();
  }

  #end(/** @type {string} */ kind, /** @type {any} */ data) {
    if (this.#closed) return;
    this.close();
    this.listener.end(kind, data);
  }
}

/**
 * @param {any} request
 * @returns {URLSearchParams} as GET /generate reads it; `stop` repeats
 */
export function query(request) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(request)) {
    if (value === null || value === undefined || name === "messages") continue;
    for (const each of Array.isArray(value) ? value : [value]) parameters.append(name, String(each));
  }
  return parameters;
}

/** A name for one request: the same key never starts it twice. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

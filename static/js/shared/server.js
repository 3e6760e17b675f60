/** The server as `health` describes it: which model, ready or why not. Shown in the header. */

import { health } from "./api.js";
import { find } from "./dom.js";
import { sentence } from "./explain.js";
import { showModels } from "./models.js";
import { recall, remember } from "./storage.js";

const READY_POLL_MS = 15_000;
const WAITING_POLL_MS = 1000;
/** The notice that was closed in this tab. */
const READ = "minivault.notice";

/** @type {Record<string, string>} */
const WORDS = {
  ready: "ready",
  loading: "loading",
  draining: "shutting down",
  unreachable: "no answer",
  locked: "locked",
};

/** Fires "change" when something that the page shows has changed. */
export class Server extends EventTarget {
  /** @type {any} */
  state = { status: "connecting" };
  #timer = 0;

  constructor() {
    super();
    find("#model").onclick = showModels;
    document.addEventListener("visibilitychange", () => document.hidden || this.poll());
  }

  get ready() {
    return this.state.status === "ready";
  }

  /** Whether it is known which model serves; not while it is being loaded. */
  get known() {
    return Boolean(this.state.model);
  }

  /** Whether the model has a chat template; otherwise it continues text. */
  get chat() {
    return Boolean(this.state.chat);
  }

  get model() {
    return this.state.model?.name ?? "";
  }

  /** The parameters that the model's makers recommend. @returns {Record<string, number>} */
  get recommended() {
    return this.state.model?.defaults ?? {};
  }

  /** In tokens, 0 while unknown. */
  get contextLength() {
    return this.state.context_length ?? 0;
  }

  async poll() {
    clearTimeout(this.#timer);
    const before = JSON.stringify(this.state);
    const state = await health();
    this.state = state.model ? state : { ...this.state, ...state };
    this.#timer = setTimeout(() => this.poll(), this.ready ? READY_POLL_MS : WAITING_POLL_MS);
    if (JSON.stringify(this.state) === before) return;
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show() {
    const { status, notice, detail } = this.state;
    const chip = find("#model");
    chip.hidden = false;
    chip.dataset.status = status;
    find(".name", chip).textContent = this.model || "MiniVault";
    find(".state", chip).textContent = WORDS[status] ?? status;
    const told = [this.ready ? "" : detail, notice].filter(Boolean).map(sentence).join(" ");
    showNotice(told, this.ready);
  }
}

/** The line below the header. Once it works, what stays to be said need not be read for ever. */
function showNotice(/** @type {string} */ text, /** @type {boolean} */ closable) {
  const bar = find("#notice");
  const read = closable && recall(READ, "sessionStorage") === text;
  bar.hidden = !text || read;
  if (find("span", bar).textContent !== text) find("span", bar).textContent = text;
  const close = find("button", bar);
  close.hidden = !closable;
  close.onclick = () => (remember(READ, text, "sessionStorage"), (bar.hidden = true));
}

/** Where prompts are written and sent, and answers stopped. */

import { button, composing, element, find } from "../shared/dom.js";
import { recall, remember } from "../shared/storage.js";
import { quotedFile, takeFiles } from "./files.js";
import { Gauge } from "./gauge.js";
import { firstPrompts } from "./prompts.js";

const DRAFT = "minivault.draft";
const GAUGE_MS = 250;

export class Composer {
  #recalled = -1;
  #conversation = "";
  /** @type {string[]} */
  #earlier = [];

  /** @param {import("./chat.js").Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.gauge = new Gauge(chat);
    this.form = find("#composer");
    this.area = find("#prompt");
    this.sendButton = find("#send");
    this.stopButton = find("#stop");
    this.form.onsubmit = (/** @type {Event} */ e) => (e.preventDefault(), this.send());
    this.stopButton.onclick = () => this.stop();
    this.area.oninput = () => this.#written();
    this.system = find("#system");
    this.system.onchange = () => (chat.system = this.system.value);
    chat.addEventListener("shown", () => (this.system.value = chat.system));
    this.area.onkeydown = (/** @type {KeyboardEvent} */ e) => this.#key(e);
    takeFiles(find("#main"), this.area, (text, name) => this.#insert(quotedFile(text, name, chat.server.chat)));
    chat.addEventListener("shown", () => this.#switched());
    for (const name of ["shown", "runs"]) chat.addEventListener(name, () => this.refresh());
    chat.server.addEventListener("change", () => this.#serverChanged());
    chat.controls.addEventListener("change", () => this.refresh());
    this.#serverChanged();
    setInterval(() => this.chat.running && this.gauge.show(this.area.value), GAUGE_MS);
  }

  send() {
    const prompt = this.area.value;
    if (!prompt || this.chat.busy || !this.chat.controls.valid()) return;
    const draft = this.#draft;
    this.area.value = "";
    this.#recalled = -1;
    this.chat.system = this.system.value;
    this.chat.send(prompt).then(() => remember(draft, "", "sessionStorage"));
    this.area.focus();
  }

  stop() {
    this.chat.running?.stop();
    this.area.focus();
  }

  refresh() {
    const running = Boolean(this.chat.running);
    this.sendButton.hidden = running;
    this.stopButton.hidden = !running;
    find(".context").hidden = this.chat.conversation.path().length === 0;
    this.gauge.show(this.area.value);
  }

  /** What is written here stays with its conversation. */
  get #draft() {
    const { id, title } = this.chat.conversation.head;
    return `${DRAFT}.${title ? id : "new"}`;
  }

  #switched() {
    const { id } = this.chat.conversation.head;
    if (id === this.#conversation) return;
    if (this.#conversation || !this.area.value) this.area.value = recall(this.#draft, "sessionStorage") ?? "";
    this.#conversation = id;
    this.#recalled = -1;
  }

  /** Puts a text where the cursor is, after what is written there. */
  #insert(/** @type {string} */ text) {
    const { value, selectionEnd: at } = this.area;
    const lead = at && !value.slice(0, at).endsWith("\n") ? "\n\n" : "";
    this.area.setRangeText(lead + text, at, at, "end");
    this.#written();
    this.area.focus();
  }

  /** Puts a prompt into the box, to be changed or sent. */
  write(/** @type {string} */ text) {
    this.area.value = text;
    this.#written();
  }

  #written() {
    this.#recalled = -1;
    remember(this.#draft, this.area.value, "sessionStorage");
    this.gauge.show(this.area.value);
  }

  #serverChanged() {
    const { server, controls } = this.chat;
    controls.modelIs(server);
    document.body.dataset.kind = !server.known ? "" : server.chat ? "chat" : "completion";
    find("#explanation").textContent = explanation(server);
    this.area.placeholder = !server.known ? "Write" : server.chat ? "Write a message" : "Write a beginning";
    const use = (/** @type {string} */ text) => (this.write(text), this.area.focus());
    const library = (server.known ? firstPrompts(server) : []).map((text) => element("li", {}, button(text, () => use(text))));
    find("#library").replaceChildren(...library);
    this.refresh();
  }

  #key(/** @type {KeyboardEvent} */ event) {
    if (composing(event)) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && this.#browsing()) this.#recall(event, this.#recalled + 1);
    else if (event.key === "ArrowDown" && this.#recalled >= 0) this.#recall(event, this.#recalled - 1);
  }

  /** The arrows leave a text alone that is being written. */
  #browsing() {
    return this.area.value === "" || this.#recalled >= 0;
  }

  /** Goes through the prompts of this conversation, the latest first, then the library. */
  #recall(/** @type {KeyboardEvent} */ event, /** @type {number} */ index) {
    if (this.#recalled < 0) this.#earlier = this.#prompts();
    if (index >= this.#earlier.length) return;
    event.preventDefault();
    this.write(this.#earlier[index] ?? "");
    this.#recalled = index;
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }

  #prompts() {
    const own = this.chat.conversation.path().map((exchange) => exchange.prompt).reverse();
    return [...new Set([...own.filter(Boolean), ...firstPrompts(this.chat.server)])];
  }
}

/** What the model that serves does with what is written. */
function explanation(/** @type {import("../shared/server.js").Server} */ { known, chat }) {
  if (!known) return "The model is not loaded yet; what is sent now waits for it.";
  if (chat) return "Ask something; the model answers.";
  return "This model continues text: write a beginning, and it writes on from there.";
}

/** The list of conversations: open, search, pin, rename, delete, export and import. */

import { announce, button, composing, download, element, find, iconButton } from "../shared/dom.js";
import { period } from "../shared/format.js";
import { markHits } from "../shared/hits.js";
import { keepsNothing } from "../shared/storage.js";
import { focusPrompt, keepingFocus } from "./focus.js";
import { fromJSON, toJSON, toMarkdown } from "./export.js";

const SEARCH_DELAY_MS = 150;

/** @typedef {import("./conversation.js").Head} Head */

export class Sidebar {
  #searching = 0;

  /**
   * @param {import("./chat.js").Chat} chat
   * @param {import("../shared/panels.js").Panel} panel
   */
  constructor(chat, panel) {
    this.chat = chat;
    this.store = chat.store;
    this.panel = panel;
    this.list = find("#conversation-list");
    this.search = find("#search");
    this.search.oninput = () => this.#searchSoon();
    this.search.onkeydown = (/** @type {KeyboardEvent} */ e) => this.#fromSearch(e);
    this.list.onkeydown = (/** @type {KeyboardEvent} */ e) => this.#walk(e);
    find("#new-conversation").onclick = () => this.begin();
    find("#export").onclick = () => this.#exportAll();
    find("#import").onclick = () => find("#import-file").click();
    find("#import-file").onchange = (/** @type {any} */ e) => this.#import(e.target);
    this.store.addEventListener("change", () => this.render());
    chat.addEventListener("shown", () => this.render());
    chat.addEventListener("runs", () => this.render());
    addEventListener("unkept", () => this.#unkept());
    if (keepsNothing()) this.#unkept();
  }

  #unkept() {
    find("#unkept").hidden = false;
    announce("This browser does not keep what is new here: it ends with this tab");
  }

  async render() {
    const words = this.search.value.trim();
    const [heads, found] = await Promise.all([this.store.list(), words ? this.store.search(words) : null]);
    if (this.list.querySelector("input")) return; // a title is being written
    const wanted = found ? heads.filter((head) => found.has(head.id)) : heads;
    keepingFocus(this.list, () => this.list.replaceChildren(...this.#groups(wanted)));
    markHits("titles", this.list.querySelectorAll("bdi"), words);
    find("#no-conversations").hidden = wanted.length > 0;
    find("#no-conversations").textContent = words ? "Nothing found." : "No conversations yet.";
  }

  /** From the search box into what it has found. */
  #fromSearch(/** @type {KeyboardEvent} */ event) {
    const [first] = this.list.querySelectorAll("a");
    if (!first || composing(event)) return;
    if (event.key === "ArrowDown") event.preventDefault(), first.focus();
    if (event.key === "Enter") event.preventDefault(), first.focus(), first.click();
  }

  /** The arrow keys go from conversation to conversation, and back into the search box. */
  #walk(/** @type {KeyboardEvent} */ event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links = [...this.list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    (links[at + step] ?? (step < 0 ? this.search : links[at])).focus();
  }

  /** The pinned ones, then the others below the day or month that they are from. */
  #groups(/** @type {Head[]} */ heads) {
    const items = [];
    let before = "";
    for (const head of [...heads.filter((each) => each.pinned), ...heads.filter((each) => !each.pinned)]) {
      const name = head.pinned ? "Pinned" : period(head.updated);
      if (name !== before) items.push(element("li", { class: "period" }, name));
      before = name;
      items.push(this.#item(head));
    }
    return items;
  }

  #item(/** @type {Head} */ head) {
    const current = head.id === this.chat.conversation.head.id;
    const run = [...this.chat.runs.values()].find(({ exchange }) => exchange.conversation === head.id);
    const doing = run && (run.connection === "open" ? "writing…" : "waiting…");
    const link = element(
      "a",
      { href: `#${head.id}`, title: head.title, "aria-current": current && "true", onclick: () => this.panel.done() },
      element("bdi", {}, head.title),
      doing && element("small", {}, doing),
    );
    const more = iconButton("more", `More for ${head.title}`, () => this.#openMenu(head, more));
    more.setAttribute("aria-haspopup", "menu");
    return element("li", {}, link, more);
  }

  /** What can be done with a conversation, beside its row; the arrow keys walk through it. */
  #openMenu(/** @type {Head} */ head, /** @type {HTMLElement} */ from) {
    const menu = find("#conversation-menu");
    const item = (/** @type {string} */ label, /** @type {() => void} */ does) =>
      button(label, () => (menu.hidePopover(), does()), { class: "quiet", role: "menuitem" });
    menu.replaceChildren(
      item(head.pinned ? "Unpin" : "Pin", () => this.#change(head, { pinned: !head.pinned })),
      item("Rename", () => this.#rename(head)),
      item("Markdown", () => this.#export(head, "md")),
      item("JSON", () => this.#export(head, "json")),
      item("Delete", () => this.#delete(head)),
    );
    menu.onkeydown = (/** @type {KeyboardEvent} */ e) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
      if (e.key === "Escape") e.stopPropagation(); // it closes the menu and nothing else
      if (!step) return;
      e.preventDefault();
      const items = [...menu.children];
      items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
    };
    menu.showPopover();
    const place = from.getBoundingClientRect();
    menu.style.setProperty("left", `${place.left}px`);
    menu.style.setProperty("top", `${Math.min(place.bottom, innerHeight - menu.offsetHeight - 8)}px`);
    menu.firstElementChild.focus();
  }

  #rename(/** @type {Head} */ head) {
    const link = find(`[href="#${head.id}"]`, this.list);
    const input = element("input", { "aria-label": "Title", maxlength: "200" });
    input.value = head.title;
    const leave = async (/** @type {boolean} */ keep) => {
      input.onblur = null;
      input.remove();
      if (keep && input.value.trim()) await this.#change(head, { title: input.value.trim() });
      this.render();
    };
    input.onblur = () => leave(true);
    input.onkeydown = (/** @type {KeyboardEvent} */ e) => {
      if (composing(e)) return;
      if (e.key === "Enter") leave(true);
      if (e.key === "Escape") e.stopPropagation(), leave(false);
    };
    link.replaceWith(input);
    input.select();
  }

  /** The conversation on display is the same object everywhere on the page. */
  #change(/** @type {Head} */ head, /** @type {Partial<Head>} */ change) {
    const shown = this.chat.conversation.head;
    return this.store.saveHead(Object.assign(shown.id === head.id ? shown : head, change));
  }

  /** Takes it away at once; for a while it can be had back. */
  async #delete(/** @type {Head} */ head) {
    for (const run of this.chat.runs.values()) if (run.exchange.conversation === head.id) run.stop();
    const whole = await this.store.export(head.id);
    await this.store.remove(head.id);
    if (this.chat.conversation.head.id === head.id) this.begin();
    else focusPrompt();
    const back = async () => (await this.store.import(whole), (location.hash = head.id));
    announce(`“${head.title}” is deleted; the vault keeps its lines.`, true, ["Undo", back]);
  }

  async #export(/** @type {Head} */ head, /** @type {"md" | "json"} */ kind) {
    const whole = await this.store.export(head.id);
    const name = `${head.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}.${kind}`;
    if (kind === "md") download(toMarkdown(whole[0]), name, "text/markdown");
    else download(toJSON(whole), name);
  }

  async #exportAll() {
    download(toJSON(await this.store.export()), "minivault-conversations.json");
  }

  async #import(/** @type {HTMLInputElement} */ input) {
    const [file] = input.files ?? [];
    try {
      const conversations = fromJSON(await file.text());
      const taken = await this.store.import(conversations);
      const known = conversations.length - taken;
      announce(`${taken} imported${known ? `, ${known} ${known > 1 ? "were" : "was"} here already` : ""}`);
    } catch (error) {
      announce(/** @type {Error} */ (error).message);
    }
    input.value = "";
  }

  #searchSoon() {
    clearTimeout(this.#searching);
    this.#searching = setTimeout(() => this.render(), SEARCH_DELAY_MS);
  }

  /** A new conversation, at once: a change of the address would be heard of only after what is typed next. */
  begin() {
    if (location.hash !== "#new") history.pushState(null, "", "#new");
    this.chat.fresh();
    this.panel.done();
    find("#prompt").focus();
  }
}

/** The exchanges on display, in order. */

import { find } from "../shared/dom.js";
import { keepingFocus } from "./focus.js";
import { ExchangeView } from "./exchange.js";

/** Who is further from the end than this many pixels is offered the way back. */
const FAR = 400;

export class Transcript {
  /** @type {Map<string, ExchangeView>} */
  #views = new Map();

  /** @param {import("./chat.js").Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.list = find("#exchanges");
    this.scroller = find("#transcript");
    this.endButton = find("#to-end");
    this.endButton.onclick = () => this.toEnd();
    this.scroller.addEventListener("scroll", () => (this.endButton.hidden = this.scroller.scrollTop > -FAR), { passive: true });
    chat.addEventListener("shown", () => this.render());
    chat.addEventListener("runs", () => this.#follow());
    chat.controls.addEventListener("tokens", () => this.#rewrite());
  }

  render() {
    const path = this.chat.conversation.path();
    const views = path.map((exchange) => this.#view(exchange));
    this.#views = new Map(views.map((view) => [view.exchange.id, view]));
    keepingFocus(this.list, () => {
      this.list.replaceChildren(...views.map((view) => view.node));
      for (const view of views) view.refresh();
    });
    find("#welcome").hidden = views.length > 0;
    this.toEnd();
  }

  /** The scroller is a reversed column: its end is where it starts. */
  toEnd() {
    this.scroller.scrollTop = 0;
  }

  #view(/** @type {import("./conversation.js").Exchange} */ exchange) {
    const known = this.#views.get(exchange.id);
    return known?.exchange === exchange ? known : new ExchangeView(exchange, this.chat);
  }

  #follow() {
    for (const view of this.#views.values()) view.follow(this.chat.runs.get(view.exchange.id));
  }

  #rewrite() {
    for (const view of this.#views.values()) view.writeText();
  }
}

/** One exchange on the page: prompt and answer, what is known of it, what can be done with it. */

import { announce, button, composing, copy, download, element, find, icon, iconButton } from "../shared/dom.js";
import { Refused } from "../shared/api.js";
import { explain, explainProblem } from "../shared/explain.js";
import { count, counted, duration, rate, speed } from "../shared/format.js";
import { PlainText } from "./answer.js";
import { keepingFocus } from "./focus.js";
import { FormattedText } from "./formatted.js";
import { TokenText } from "./tokens.js";

/** How often the figures of a running answer are renewed. */
const FIGURES_MS = 250;

/** @type {Record<string, string>} */
const REASONS = { cancelled: "stopped", disconnected: "disconnected" };

/** @typedef {import("./conversation.js").Exchange} Exchange */
/** @typedef {import("./run.js").Run} Run */

export class ExchangeView {
  /** @type {Run | undefined} */
  #run;
  #timer = 0;

  /**
   * @param {Exchange} exchange
   * @param {import("./chat.js").Chat} chat
   */
  constructor(exchange, chat) {
    this.exchange = exchange;
    this.chat = chat;
    this.node = find("#exchange").content.firstElementChild.cloneNode(true);
    this.node.id = `exchange-${exchange.id}`;
    this.node.dataset.kind = exchange.kind;
    this.text = this.#written();
    this.follow(chat.runs.get(exchange.id));
    this.refresh();
  }

  /** Puts the whole text up again, plain or by token. */
  writeText() {
    this.text = this.#written();
    this.#offer(this.exchange.state === "open");
  }

  #written() {
    const { exchange, chat } = this;
    const place = element("div", { class: "text" });
    find(".text, .editor", this.node).replaceWith(place);
    const form = formOf(exchange, chat.controls);
    const text = new form(place, exchange.prompt, form === FormattedText ? this.#before() : "");
    for (const piece of form === TokenText ? exchange.pieces ?? [] : [exchange]) text.append(piece);
    if (exchange.state === "open") text.flush();
    else text.end();
    return text;
  }

  /** What this answer goes on from: it is read as one with it, since it may be amid a list or code. */
  #before() {
    const { exchanges } = this.chat.conversation;
    let before = "";
    for (let each = this.exchange; each.kind === "continuation"; ) {
      const up = exchanges.get(each.parent ?? "");
      if (!up || formOf(up, this.chat.controls) !== FormattedText) break;
      before = up.text + before;
      each = up;
    }
    return before;
  }

  /** Shows an answer that is being written. */
  follow(/** @type {Run | undefined} */ run) {
    if (!run || this.#run === run) return;
    this.#run = run;
    if (this.chat.controls.showsTokens && run.exchange.params.top_logprobs && !run.exchange.pieces) {
      run.exchange.pieces = [];
      this.writeText();
    }
    run.addEventListener("piece", (e) => this.text.append(/** @type {CustomEvent} */ (e).detail));
    run.addEventListener("state", () => this.#decided());
    run.addEventListener("end", () => this.#ended());
    this.#timer = setInterval(() => this.#figures(), FIGURES_MS);
  }

  /** Everything but the text. */
  refresh() {
    const running = this.exchange.state === "open";
    this.node.dataset.state = this.exchange.state;
    this.node.dataset.connection = running ? this.#run?.connection ?? "" : "";
    this.node.setAttribute("aria-busy", String(running));
    this.#figures();
    this.#problem();
    this.#alternatives();
    const actions = running ? [] : this.#actions();
    this.#offer(running);
    keepingFocus(this.node, () => find(".actions", this.node).replaceChildren(...actions));
  }

  /** It may only now be known whether the model chats. */
  #decided() {
    if (!this.exchange.text && !(this.text instanceof formOf(this.exchange, this.chat.controls))) this.writeText();
    this.refresh();
  }

  #ended() {
    clearInterval(this.#timer);
    this.#run = undefined;
    this.text.end();
    this.refresh();
    const tokens = this.exchange.end?.usage?.completion_tokens;
    announce(tokens === undefined ? "The answer has ended" : `Answer finished, ${counted(tokens, "token")}`, false);
  }

  /** What matters of an answer in a line; what else is known of it behind a word. */
  #figures() {
    const { start, end, skip } = this.exchange;
    const [shown, more] = this.#run ? [liveFacts(this.#run), []] : endFacts(end, start);
    if (skip) shown.push(`without the oldest ${count(skip)} characters`);
    const same = this.#run ? "" : sameness(this.exchange, this.chat.conversation.siblings(this.exchange));
    const receipt = end?.receipt;
    const link = receipt && element(
      "a",
      { class: "receipt", href: `logs#${receipt.seq}`, title: `SHA-256 ${receipt.hash}` },
      `vault line ${receipt.seq}`,
    );
    const fold = more.length > 0 && element("details", {}, element("summary", {}, "more"), element("span", {}, more.join(" · ")));
    const items = [...shown, same, link, fold].filter(Boolean).map((fact) => element("li", {}, fact));
    find(".facts", this.node).replaceChildren(...items);
    find(".text, .editor", this.node).title = receipt ? [...shown, `vault line ${receipt.seq}`].join(" · ") : "";
  }

  #problem() {
    const place = find(".problem", this.node);
    const { exchange, chat } = this;
    const found = explain(exchange.state, exchange.end, chat.conversation.hasAbove(exchange));
    place.hidden = !found;
    if (!found) return place.replaceChildren();
    place.replaceChildren(element("strong", {}, found.title), ` ${found.detail} `, ...this.#remedies(found));
  }

  /** @returns {(Node | string)[]} */
  #remedies(/** @type {import("../shared/explain.js").Explanation} */ { action, tokens = 0 }) {
    const { chat, exchange } = this;
    if (action === "retry") return [button("Try again", () => chat.retry(exchange))];
    if (action === "again") return [button("Run again", () => chat.regenerate(exchange))];
    if (action === "login") return [element("a", { href: "login" }, "Log in")];
    if (action !== "full") return [];
    return [
      button(exchange.chat ? "Go on without the oldest turns" : "Go on without the oldest part", () => chat.goOn(exchange, tokens)),
      exchange.kind === "prompt" && button("New conversation with this prompt", () => chat.moveOut(exchange)),
    ].filter((each) => each !== false);
  }

  #alternatives() {
    const all = this.chat.conversation.siblings(this.exchange);
    const at = all.indexOf(this.exchange);
    const place = find(".alternatives", this.node);
    place.hidden = all.length < 2;
    if (place.hidden) return;
    const step = (/** @type {string} */ name, /** @type {string} */ label, /** @type {number} */ to) => {
      const control = iconButton(name, label, () => this.chat.show(all[to]));
      control.disabled = !all[to];
      return control;
    };
    const position = element("span", {}, `${at + 1} of ${all.length}`);
    place.replaceChildren(step("left", "Earlier answer", at - 1), position, step("right", "Later answer", at + 1));
  }

  /** An answer was made without the probabilities that are to be shown: it can be made again with them. */
  #offer(/** @type {boolean} */ running) {
    const { chat, exchange } = this;
    const isLast = chat.conversation.path().at(-1) === exchange;
    const lacks = !running && isLast && chat.controls.showsTokens && !exchange.pieces && exchange.text !== "";
    const place = find(".offer", this.node);
    place.hidden = !lacks;
    if (!lacks) return place.replaceChildren();
    const again = button("Make it again with them", () => chat.retry(exchange));
    place.replaceChildren("This answer came without probabilities. ", again);
  }

  #actions() {
    const { chat, exchange } = this;
    const { start, end, text } = exchange;
    const more = end?.finish_reason === "length" || end?.usage?.completion_tokens > start?.params?.sentence_after;
    return [
      action("copy", "Copy", () => copy(chat.conversation.story(exchange)).then(() => announce("Copied"))),
      text && action("continue", "Continue", () => chat.continue(exchange), "", more),
      action("retry", "Retry", () => chat.retry(exchange), "The same request and seed again"),
      action("regenerate", "Regenerate", () => chat.regenerate(exchange), "The same prompt with a new seed"),
      exchange.chat
        ? exchange.kind === "prompt" && action("edit", "Edit", () => this.#edit(), "Change the prompt and run it again")
        : action("edit", "Edit", () => this.#edit(), "Write in the text, and let it go on from any place"),
      end?.receipt && action("share", "Share", () => this.#share(), "One file with the text, its parameters and its line in the vault"),
    ].filter(Boolean);
  }

  /** Saves the answer with what proves it; where the log is not shown to everybody, that is said. */
  async #share() {
    try {
      download(await this.chat.shared(this.exchange), `minivault-line-${this.exchange.end.receipt.seq}.html`, "text/html");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const { title, detail } = explainProblem(error.problem);
      announce(`${title} ${detail}`);
    }
  }

  /**
   * Puts an editor in the place of the text: of the prompt in a chat, else of all that was written, to go
   * on from where the cursor is. Enter runs, Escape gives up.
   */
  #edit() {
    const { chat, exchange } = this;
    const story = !exchange.chat && exchange.text !== "";
    const area = element("textarea", { "aria-label": story ? "Text" : "Prompt", rows: 3, dir: "auto" });
    area.value = story ? chat.conversation.story(exchange) : exchange.prompt;
    const run = () => {
      const text = story ? area.value.slice(0, area.selectionStart) : area.value;
      if (text) chat.rewrite(exchange, text);
    };
    const form = element("form", { class: "editor" }, area, element(
      "div",
      { class: "row" },
      element("button", { class: "primary" }, story ? "Go on from the cursor" : "Run"),
      button("Cancel", () => restore()),
      story && element("span", { class: "hint" }, "What stands behind the cursor stays in the earlier version."),
    ));
    const text = find(".text", this.node);
    const restore = () => (form.replaceWith(text), delete this.node.dataset.edited, find("[data-action=edit]", this.node).focus());
    form.onsubmit = (/** @type {Event} */ e) => (e.preventDefault(), run());
    area.onkeydown = (/** @type {KeyboardEvent} */ e) => {
      if (composing(e)) return;
      if (e.key === "Escape") e.stopPropagation(), restore();
      if (e.key === "Enter" && !e.shiftKey) e.preventDefault(), run();
    };
    text.replaceWith(form);
    this.node.dataset.edited = story ? "story" : "prompt";
    area.focus();
  }
}

/** How an answer is shown: by token, as what its Markdown means, or as it came. */
function formOf(/** @type {Exchange} */ exchange, /** @type {import("./controls.js").Controls} */ controls) {
  if (controls.showsTokens && exchange.pieces) return TokenText;
  return exchange.chat && controls.formats ? FormattedText : PlainText;
}

function action(/** @type {string} */ name, /** @type {string} */ label, /** @type {() => void} */ press, title = "", main = false) {
  const node = button("", press, { class: main ? "main" : "quiet", title: title || false, "data-action": name });
  node.append(icon(name), element("span", {}, label));
  return node;
}

/** @returns {any[]} */
function liveFacts(/** @type {Run} */ run) {
  const { connection, reason, position, tokens, firstTokenMs } = run;
  if (connection === "connecting") return ["connecting…"];
  if (connection === "queued") return [`waiting, place ${position} in the queue`];
  if (connection === "lost") return [run.exchange.start ? "connection lost, trying again…" : "the server does not answer, trying again…"];
  if (connection === "held") return [`waiting: ${reason || "the server is not ready"}`];
  if (!tokens) return ["reading the prompt…"];
  return [counted(tokens, "token"), run.speed && speed(run.speed), `first after ${duration(firstTokenMs)}`];
}

/** @returns {[any[], string[]]} what is shown, and what is behind a word */
function endFacts(/** @type {any} */ end = {}, /** @type {any} */ start = undefined) {
  const { usage, timings, finish_reason: reason, error } = end;
  const silent = reason === "stop" && !usage?.completion_tokens;
  const made = silent ? "the model had nothing to say" : usage && counted(usage.completion_tokens, "token");
  const shown = [
    made && reason === "length" ? `cut at ${made}` : made,
    timings?.tokens_per_second && `${rate(timings.tokens_per_second)}/s`,
    REASONS[reason],
    error?.written && "written to the vault late: the log could not be written when it ended",
  ];
  const more = [
    timings?.first_token_ms && `first after ${duration(timings.first_token_ms)}`,
    start && start.model,
    start && `seed ${start.seed}`,
  ];
  return [shown, more.filter(Boolean)];
}

/** Whether the same request has made the same text before: that is this product's promise. */
function sameness(/** @type {Exchange} */ exchange, /** @type {Exchange[]} */ siblings) {
  const at = siblings.indexOf(exchange);
  const earlier = siblings.slice(0, at).findLastIndex((each) => requestOf(each) === requestOf(exchange));
  if (exchange.state !== "done" || earlier < 0) return "";
  const which = `${earlier + 1} of ${siblings.length}`;
  if (siblings[earlier].text === exchange.text) return element("strong", {}, `the same, byte for byte, as ${which} ✓`);
  return element("strong", { class: "differs" }, `the same request as ${which}, but another text`);
}

/** Everything that the text depends on. */
function requestOf(/** @type {Exchange} */ { prompt, skip, system, start, state }) {
  if (!start || state !== "done") return NaN; // equal to nothing
  const { top_logprobs: _, ...params } = start.params;
  return JSON.stringify([prompt, skip || 0, system || "", start.model, start.seed, params]);
}

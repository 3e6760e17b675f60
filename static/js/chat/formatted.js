/** A chat model's answer with its Markdown shown as what it means, while it is written. */

import { announce, button, copy, element } from "../shared/dom.js";
import { counted } from "../shared/format.js";
import { GatheredText, textOf } from "./gathered.js";
import { blocksOf, cellsOf } from "./markdown.js";
import { spansOf } from "./spans.js";
import { thoughtIn } from "./thought.js";

/** @typedef {import("./markdown.js").Block} Block */
/** @typedef {import("./markdown.js").Span} Span */

/**
 * Only the last block is made anew when text comes, and of a list or a
 * table only the last part: what was read already stays the same nodes.
 */
export class FormattedText extends GatheredText {
  #source = "";
  /** Where the last block begins in the source. */
  #from = 0;
  /** @type {Shown | null} the last block, as it is on display */
  #last = null;
  /** @type {number[]} the headings above, outermost first */
  #levels = [];
  #growing = true;
  #said = element("div", { class: "said formatted" });

  /**
   * @param {HTMLElement} container
   * @param {string} prompt stands before the answer
   * @param {string} before the part of the answer that came with the exchanges above
   */
  constructor(container, prompt, before = "") {
    super();
    const asked = prompt && element("div", { class: "block" }, element("span", { class: "prompt" }, prompt));
    container.replaceChildren(...[asked, this.#said].filter(Boolean));
    if (before) this.append({ text: before });
  }

  write(/** @type {import("./gathered.js").Piece[]} */ pieces) {
    const added = textOf(pieces);
    const before = this.#source.length;
    this.#source += added;
    if (before === 0 || this.#thinks || this.#source.slice(Math.max(0, before - 9)).includes("</think>")) this.#think();
    if (!this.#thinks) this.#show(added);
  }

  /** After the last piece: what is still open is closed as it stands. */
  end() {
    this.#growing = false;
    super.end();
    this.#said.normalize();
  }

  /** @type {HTMLElement | null} */
  #thought = null;
  #thinks = false;

  /** What a model thinks before it answers is folded away. */
  #think() {
    const found = thoughtIn(this.#source);
    if (!found) return;
    const { thought, answer } = found;
    if (!this.#thought) {
      this.#thought = element("details", { class: "thought" }, element("summary"), element("p"));
      this.#said.replaceChildren(this.#thought);
    }
    const [summary, text] = this.#thought.children;
    const words = counted(thought.split(/\s+/).filter(Boolean).length, "word");
    summary.textContent = answer < 0 ? `Thinking: ${words}` : `Thought: ${words}`;
    text.textContent = thought;
    this.#thinks = answer < 0;
    if (answer >= 0 && this.#from < answer) {
      this.#from = answer;
      this.#last = null;
      this.#said.replaceChildren(this.#thought);
    }
  }

  #show(/** @type {string} */ added) {
    if (this.#growing && this.#last?.takes(added)) return;
    const lines = this.#source.slice(this.#from).split("\n");
    const blocks = blocksOf(lines);
    blocks.forEach((block, i) => {
      const isLast = i === blocks.length - 1;
      if (i > 0 || !this.#last?.becomes(block, this.#growing && isLast)) {
        if (i === 0) this.#last?.node.remove();
        this.#last = new Shown(block, this.#growing && isLast, this.#levels);
        this.#said.append(this.#last.node);
      }
      if (!isLast && block.kind === "heading") this.#levels = levelsWith(this.#levels, block.level ?? 1);
    });
    const last = blocks.at(-1);
    if (last) this.#from += lines.slice(0, last.line).reduce((sum, line) => sum + line.length + 1, 0);
  }
}

/** A block on display. */
class Shown {
  /** @type {string[]} the source of each part, by which it is known whether it has changed */
  #sources;

  /** @param {Block} block @param {boolean} growing @param {number[]} levels */
  constructor(block, growing, levels) {
    this.kind = block.kind;
    this.block = block;
    this.node = nodeOf(block, growing, levels);
    this.#sources = partsOf(block);
  }

  /** Takes more text into a fence that is open, without reading it again; not where that may close it. */
  takes(/** @type {string} */ added) {
    const { kind, closed, text } = this.block;
    if (kind !== "code" || closed || !text) return false;
    if (/[`~]/.test(text.slice(text.lastIndexOf("\n") + 1) + added)) return false;
    return this.#append(added);
  }

  #append(/** @type {string} */ code) {
    this.block.text += code;
    this.node.querySelector("code")?.append(code);
    return true;
  }

  /** Shows what the block has become; only parts that changed are made anew. @returns {boolean} */
  becomes(/** @type {Block} */ block, /** @type {boolean} */ growing) {
    const { language, text = "" } = this.block;
    if (block.kind === "code" && this.kind === "code" && block.language === language && block.text?.startsWith(text)) {
      this.block.closed = block.closed;
      return this.#append(block.text.slice(text.length));
    }
    const sources = partsOf(block);
    if (!sources.length || block.kind !== this.kind || block.first !== this.block.first) return false;
    if (block.align?.join() !== this.block.align?.join()) return false;
    const holder = this.node.matches("ol, ul") ? this.node : /** @type {HTMLElement} */ (this.node.querySelector("table"));
    const same = this.#sources.findIndex((source, i) => source !== sources[i]);
    const from = Math.min(same < 0 ? this.#sources.length : same, this.#sources.length - 1);
    while (holder.children.length > from) holder.lastChild?.remove();
    holder.append(...partNodes(block, growing, from));
    this.block = block;
    this.#sources = sources;
    return true;
  }
}

/** @returns {string[]} what can be made anew by itself: items, rows */
function partsOf(/** @type {Block} */ { kind, items, rows }) {
  if (kind === "list") return (items ?? []).map((lines) => lines.join("\n"));
  return kind === "table" ? rows ?? [] : [];
}

/** @returns {HTMLElement[]} the items of a list or rows of a table, from one on */
function partNodes(/** @type {Block} */ { items, rows, align = [] }, /** @type {boolean} */ growing, from = 0) {
  const parts = items ?? rows ?? [];
  return parts.slice(from).map((part, i) => {
    const last = growing && from + i === parts.length - 1;
    return items ? itemNode(/** @type {string[]} */ (part), last) : rowNode(/** @type {string} */ (part), align, from + i === 0, last);
  });
}

/** @returns {HTMLElement} */
function nodeOf(/** @type {Block} */ block, /** @type {boolean} */ growing, /** @type {number[] | null} */ levels = null) {
  const { kind, text = "", lines = [] } = block;
  if (kind === "code") return codeNode(block);
  if (kind === "rule") return element("hr");
  if (kind === "quote") return element("blockquote", {}, ...nodesOf(lines, growing));
  if (kind === "list") return element(block.first === undefined ? "ul" : "ol", { start: block.first }, ...partNodes(block, growing));
  if (kind === "table") return scrolling("Table", element("table", {}, ...partNodes(block, growing)));
  if (kind === "heading" && levels) return element("p", headingOf(levels, block.level ?? 1), ...spanNodes(text, growing));
  return element("p", { class: kind === "heading" && "level-6" }, ...spanNodes(text, growing));
}

function nodesOf(/** @type {string[]} */ lines, /** @type {boolean} */ growing, depth = 1) {
  const blocks = blocksOf(lines, depth);
  return blocks.map((block, i) => nodeOf(block, growing && i === blocks.length - 1));
}

function itemNode(/** @type {string[]} */ [first, ...rest], /** @type {boolean} */ growing) {
  const [, box] = /^\[([ xX])\] /.exec(first) ?? [];
  const lines = box ? [`${box === " " ? "☐" : "☑"} ${first.slice(4)}`, ...rest] : [first, ...rest];
  return element("li", { class: box && "task" }, ...nodesOf(lines, growing));
}

function rowNode(/** @type {string} */ row, /** @type {string[]} */ align, /** @type {boolean} */ head, /** @type {boolean} */ growing) {
  const cells = cellsOf(row);
  const made = align.map((side, i) => element(head ? "th" : "td", { class: side || false, scope: head && "col" }, ...spanNodes(cells[i] ?? "", growing)));
  return element("tr", {}, ...made);
}

function codeNode(/** @type {Block} */ { language, text = "" }) {
  const code = element("code", {}, text);
  const copied = () => copy(code.textContent).then(() => announce("Copied"));
  const head = element("div", { class: "row" }, element("span", {}, language ?? ""), button("Copy", copied, { class: "quiet", "aria-label": "Copy the code" }));
  return element("figure", { class: "code" }, head, element("pre", { tabindex: "0", role: "group", "aria-label": language ? `Code, ${language}` : "Code" }, code));
}

/** What may be wider than the page is moved to and fro by itself, by the keyboard too. */
function scrolling(/** @type {string} */ label, /** @type {HTMLElement} */ node) {
  return element("div", { class: "scrolling", tabindex: "0", role: "group", "aria-label": label }, node);
}

function spanNodes(/** @type {string} */ text, /** @type {boolean} */ growing) {
  return spansOf(text, growing).map(spanNode);
}

/** @returns {Node | string} */
function spanNode(/** @type {Span} */ span) {
  if (typeof span === "string") return span;
  const inner = span.spans.map(spanNode);
  if (span.kind !== "link") return element(span.kind, {}, ...inner);
  if (!span.href) return element("span", {}, ...inner);
  return element("a", { href: span.href, target: "_blank", rel: "noopener noreferrer nofollow", title: span.href }, ...inner);
}

/** A heading below those above it; its outline has no gaps, whatever the model's has. */
function headingOf(/** @type {number[]} */ levels, /** @type {number} */ level) {
  const depth = Math.min(6, 1 + levelsWith(levels, level).length);
  return { class: `level-${level}`, role: "heading", "aria-level": String(depth) };
}

function levelsWith(/** @type {number[]} */ levels, /** @type {number} */ level) {
  return [...levels.filter((each) => each < level), level];
}

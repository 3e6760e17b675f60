/** A list of any length of which only the visible rows exist. */

import { element } from "../shared/dom.js";

const ROW = 52;
/** Rows drawn above and below what is visible. */
const SPARE = 8;
/** Browsers cannot lay out arbitrarily high boxes; longer lists are scrolled in proportion. */
const HIGHEST = 8_000_000;
/** A pointer that moves further than this between press and release selects text. */
const SLIP = 5;

/**
 * Fires "choose" (detail: the row's index) when a row is pressed, clicked or walked to, "drawn" when other
 * rows are on display.
 */
export class List extends EventTarget {
  /** @type {import("./source.js").Source & EventTarget | null} */
  source = null;
  chosen = -1;
  /** How far down the list's first visible pixel is, as if all rows were laid out. */
  #top = 0;
  #scrolled = 0;
  #pressed = { x: NaN, y: NaN };
  #frame = 0;
  /** @type {Map<number, {node: HTMLElement, row: any}>} the rows on display, by what they show */
  #drawn = new Map();
  #redraw = () => this.#soon();

  /**
   * @param {HTMLElement} scroller with the role listbox
   * @param {HTMLElement} canvas in it
   * @param {(row: any) => Node[]} cells
   */
  constructor(scroller, canvas, cells) {
    super();
    this.scroller = scroller;
    this.canvas = canvas;
    this.cells = cells;
    scroller.addEventListener("scroll", () => this.#onScroll());
    scroller.addEventListener("keydown", (e) => this.#key(e));
    scroller.addEventListener("pointerdown", ({ clientX, clientY }) => (this.#pressed = { x: clientX, y: clientY }));
    scroller.addEventListener("pointerup", (e) => this.#release(e));
    scroller.addEventListener("click", (e) => this.#click(e));
    new ResizeObserver(() => this.#soon()).observe(scroller);
  }

  /** New rows have come above all others: who reads further down goes on reading the same. */
  moved(/** @type {number} */ places) {
    if (this.chosen >= 0) this.chosen += places;
    set(this.canvas.style, "block-size", `${this.#height}px`);
    if (this.#top > 0) this.#moveTo(this.#top + places * ROW);
  }

  show(/** @type {any} */ source) {
    this.source?.removeEventListener("change", this.#redraw);
    this.source = source;
    source.addEventListener("change", this.#redraw);
    this.chosen = -1;
    this.#top = this.#scrolled = this.scroller.scrollTop = 0;
    this.#draw();
  }

  /** Chooses a row and brings it into view, in its middle for who comes from elsewhere. */
  choose(/** @type {number} */ index, central = false) {
    if (!this.source || index < 0 || index >= this.source.count) return;
    this.chosen = index;
    const top = index * ROW;
    const seen = top >= this.#top && top + ROW <= this.#top + this.#view;
    if (central && !seen) this.#moveTo(top - (this.#view - ROW) / 2);
    else if (top < this.#top) this.#moveTo(top);
    else if (top + ROW > this.#top + this.#view) this.#moveTo(top + ROW - this.#view);
    this.#draw();
    this.dispatchEvent(new CustomEvent("choose", { detail: index }));
  }

  get #view() {
    return this.scroller.clientHeight;
  }

  /** The height of all rows, and of the box that stands for them. */
  get #total() {
    return (this.source?.count ?? 0) * ROW;
  }

  get #height() {
    return Math.min(HIGHEST, this.#total);
  }

  #moveTo(/** @type {number} */ top) {
    this.#top = Math.max(0, Math.min(top, this.#total - this.#view));
    const room = this.#total - this.#view;
    this.#scrolled = room > 0 ? Math.round((this.#top / room) * (this.#height - this.#view)) : 0;
    this.scroller.scrollTop = this.#scrolled;
  }

  /** Short ways are scrolled as they are, long ones and the ends in proportion. */
  #onScroll() {
    const { scrollTop } = this.scroller;
    const way = scrollTop - this.#scrolled;
    const room = this.#height - this.#view;
    const isNear = Math.abs(way) < this.#view && scrollTop > 0 && scrollTop < room - 1;
    const proportion = room > 0 ? Math.min(1, scrollTop / room) : 0;
    this.#top = isNear ? this.#top + way : proportion * (this.#total - this.#view);
    this.#top = Math.max(0, Math.min(this.#top, this.#total - this.#view));
    this.#scrolled = scrollTop;
    this.#soon();
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { source } = this;
    if (!source) return;
    const first = Math.max(0, Math.floor(this.#top / ROW) - SPARE);
    const last = Math.min(source.count - 1, Math.ceil((this.#top + this.#view) / ROW) + SPARE);
    source.need(first, last);
    set(this.canvas.style, "block-size", `${this.#height}px`);
    const drawn = new Map();
    for (let index = first; index <= last; index++) {
      const seq = source.seqAt(index);
      drawn.set(seq, this.#row(index, seq, source));
    }
    for (const [seq, { node }] of this.#drawn) if (drawn.get(seq)?.node !== node) node.remove();
    this.#drawn = drawn;
    this.#inOrder([...drawn.values()].map(({ node }) => node));
    this.dispatchEvent(new Event("drawn"));
    const chosen = this.chosen >= first && this.chosen <= last && source.seqAt(this.chosen);
    if (chosen) attribute(this.scroller, "aria-activedescendant", `row-${chosen}`);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  /** Where a row is read by a screen reader; those that are in their place stay untouched. */
  #inOrder(/** @type {HTMLElement[]} */ nodes) {
    let at = this.canvas.firstChild;
    for (const node of nodes) {
      if (node === at) at = at.nextSibling;
      else this.canvas.insertBefore(node, at);
    }
  }

  /** The node that shows this row already, or a new one: what is on display is not made again. */
  #row(/** @type {number} */ index, /** @type {number} */ seq, /** @type {any} */ source) {
    const row = source.row(index);
    const known = this.#drawn.get(seq);
    const node = known && known.row === row ? known.node : this.#made(seq, row);
    attribute(node, "data-index", index);
    attribute(node, "aria-selected", index === this.chosen);
    attribute(node, "aria-setsize", source.complete ? source.count : -1);
    attribute(node, "aria-posinset", index + 1);
    set(node.style, "translate", `0px ${index * ROW - this.#top + this.#scrolled}px`);
    return { node, row };
  }

  #made(/** @type {number} */ seq, /** @type {any} */ row) {
    const attributes = { role: "option", id: `row-${seq}`, class: row ? "record" : "record absent" };
    return element("div", attributes, ...(row ? this.cells(row) : ["…"]));
  }

  /** Not a click: rows may be drawn anew between press and release, and then there is none. */
  #release(/** @type {PointerEvent} */ event) {
    const slip = Math.hypot(event.clientX - this.#pressed.x, event.clientY - this.#pressed.y);
    this.#pressed = { x: NaN, y: NaN };
    if (event.button !== 0 || event.target === this.scroller || !(slip < SLIP)) return;
    const y = event.clientY - this.scroller.getBoundingClientRect().top - this.scroller.clientTop;
    this.choose(Math.floor((y + this.#top) / ROW));
  }

  /** By a screen reader: no pointer was there. */
  #click(/** @type {MouseEvent} */ event) {
    const row = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[data-index]"));
    if (row && event.detail === 0) this.choose(Number(row.dataset.index));
  }

  #key(/** @type {KeyboardEvent} */ event) {
    const page = Math.max(1, Math.floor(this.#view / ROW) - 1);
    const last = (this.source?.count ?? 0) - 1;
    const at = this.chosen;
    const places = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last };
    const to = /** @type {Record<string, number>} */ (places)[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, to)));
  }
}

/** Sets an attribute if it is another: each setting wakes whoever watches the list. */
function attribute(/** @type {Element} */ node, /** @type {string} */ name, /** @type {any} */ value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

function set(/** @type {CSSStyleDeclaration} */ style, /** @type {string} */ name, /** @type {string} */ value) {
  if (style.getPropertyValue(name) !== value) style.setProperty(name, value);
}

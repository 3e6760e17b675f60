/** A list of any length of which only the visible rows exist. */

import { element } from "../shared/dom.js";

const ROW = 52;
/** Rows drawn above and below what is visible. */
const SPARE = 8;
/** Browsers cannot lay out arbitrarily high boxes; longer lists are scrolled in proportion. */
const HIGHEST = 8_000_000;
/** A pointer that moves further than this between press and release selects text. */
const SLIP = 5;

/** Fires "choose" (detail: the row's index) when a row is pressed, clicked or walked to. */
export class List extends EventTarget {
  /** @type {import("./source.js").Source & EventTarget | null} */
  source = null;
  chosen = -1;
  /** How far down the list's first visible pixel is, as if all rows were laid out. */
  #top = 0;
  #scrolled = 0;
  #pressed = { x: NaN, y: NaN };
  #frame = 0;
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

  show(/** @type {any} */ source) {
    this.source?.removeEventListener("change", this.#redraw);
    this.source = source;
    source.addEventListener("change", this.#redraw);
    this.chosen = -1;
    this.#top = this.#scrolled = this.scroller.scrollTop = 0;
    this.#draw();
  }

  /** Chooses a row and brings it into view. */
  choose(/** @type {number} */ index) {
    if (!this.source || index < 0 || index >= this.source.count) return;
    this.chosen = index;
    const top = index * ROW;
    if (top < this.#top) this.#moveTo(top);
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
    this.canvas.style.setProperty("block-size", `${this.#height}px`);
    const rows = [];
    for (let index = first; index <= last; index++) rows.push(this.#row(index, source));
    this.canvas.replaceChildren(...rows);
    if (this.chosen >= first && this.chosen <= last) this.scroller.setAttribute("aria-activedescendant", `row-${this.chosen}`);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  #row(/** @type {number} */ index, /** @type {any} */ source) {
    const row = source.row(index);
    const node = element(
      "div",
      {
        role: "option",
        id: `row-${index}`,
        class: row ? "record" : "record absent",
        "data-index": index,
        "aria-selected": String(index === this.chosen),
        "aria-setsize": source.complete ? source.count : -1,
        "aria-posinset": index + 1,
      },
      ...(row ? this.cells(row) : ["…"]),
    );
    node.style.setProperty("translate", `0 ${index * ROW - this.#top + this.#scrolled}px`);
    return node;
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

/** What stands inside a line of Markdown: emphasis, code, links. Pure. */

/** @typedef {import("./markdown.js").Span} Span */

const DEEPEST = 6;
const LINK = /!?\[((?:[^[\]\\]|\\.)*)\]\(\s*<?((?:[^\s()<>\\]|\\.|\([^\s()]*\))*)>?(?:\s+["'(][^\n]*?["')])?\s*\)/y;
const LINK_BEGUN = /!?\[((?:[^[\]\\]|\\.)+)\]\([^)\n]*$/y;
const ADDRESS = /<?(https?:\/\/[^\s<>"]*[^\s<>"'.,:;!?*_~`)\]])>?/y;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
/** @type {Record<string, "strong" | "em" | "del">} */
const KINDS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };

/**
 * @param {string} text
 * @param {boolean} [growing] whether more may come: what is open is taken as closed at the end
 * @returns {Span[]}
 */
export function spansOf(text, growing = false) {
  return new Reader(growing ? text.replace(/[*_~`]+$/, "") : text, growing, 0).read();
}

class Reader {
  #at = 0;
  #plain = "";
  /** @type {Span[]} */
  #spans = [];
  /** @type {Set<string>} marks that nothing closes from here on */
  #unclosed = new Set();

  constructor(/** @type {string} */ text, /** @type {boolean} */ growing, /** @type {number} */ depth) {
    this.text = text;
    this.growing = growing;
    this.depth = depth;
  }

  read() {
    while (this.#at < this.text.length) if (!this.#special()) this.#plain += this.text[this.#at++];
    this.#push();
    return this.#spans;
  }

  #special() {
    const character = this.text[this.#at];
    if (character === "\\") return this.#escaped();
    if (character === "`") return this.#code();
    if (character === "[" || character === "!") return this.#link();
    if (character === "<" || character === "h") return this.#address();
    return "*_~".includes(character) && this.#emphasis();
  }

  #escaped() {
    if (!PUNCTUATION.test(this.text[this.#at + 1] ?? "")) return false;
    this.#plain += this.text[this.#at + 1];
    this.#at += 2;
    return true;
  }

  #code() {
    const run = this.#run();
    const begin = this.#at + run.length;
    let end = closingRun(this.text, run, begin);
    if (end < 0 && this.growing) end = this.text.length;
    if (end < 0) return this.#literal(run);
    const inside = this.text.slice(begin, end).replaceAll("\n", " ");
    const code = /^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside;
    return this.#add({ kind: "code", spans: [code] }, end + run.length);
  }

  #link() {
    LINK.lastIndex = LINK_BEGUN.lastIndex = this.#at;
    const [whole, text, href] = LINK.exec(this.text) || (this.growing && LINK_BEGUN.exec(this.text)) || [];
    if (whole === undefined) return false;
    const shown = text || href || "";
    return this.#add(linked(href ?? "", this.#inner(shown)), this.#at + whole.length);
  }

  #address() {
    ADDRESS.lastIndex = this.#at;
    const [whole, href] = ADDRESS.exec(this.text) ?? [];
    if (!whole || /\w/.test(this.text[this.#at - 1] ?? "")) return false;
    return this.#add(linked(href, [href]), this.#at + whole.length);
  }

  #emphasis() {
    const run = this.#run();
    const marks = run[0] === "~" ? ["~~"] : [run[0].repeat(2), run[0]];
    const fits = run.length <= 3 && this.depth < DEEPEST && this.#opens(run);
    const mark = marks.find((each) => fits && run.startsWith(each) && !this.#unclosed.has(each));
    if (!mark) return this.#literal(run);
    const begin = this.#at + mark.length;
    let end = this.#closing(mark, begin);
    const open = end < 0 && this.growing && mark[0] === "*";
    if (open) end = this.text.length;
    if (end < 0) this.#unclosed.add(mark);
    if (end < 0) return this.#literal(mark);
    return this.#add({ kind: KINDS[mark], spans: this.#inner(this.text.slice(begin, end), open) }, end + mark.length);
  }

  #opens(/** @type {string} */ run) {
    const [before, after] = [this.text[this.#at - 1] ?? " ", this.text[this.#at + run.length] ?? " "];
    return /\S/.test(after) && !(run[0] === "_" && /[\p{L}\p{N}]/u.test(before));
  }

  /** Where a mark is closed; code and what is escaped close nothing. */
  #closing(/** @type {string} */ mark, /** @type {number} */ from) {
    for (let at = from; at < this.text.length; at++) {
      if (this.text[at] === "\\") at++;
      else if (this.text[at] === "`") {
        const run = runAt(this.text, at);
        const end = closingRun(this.text, run, at + run.length);
        at = (end < 0 ? at : end) + run.length - 1;
      } else if (this.text[at] === mark[0]) {
        const run = runAt(this.text, at);
        const fits = run.length === mark.length || run.length === 3;
        const word = mark[0] === "_" && /[\p{L}\p{N}]/u.test(this.text[at + run.length] ?? "");
        if (fits && at > from && /\S/.test(this.text[at - 1]) && !word) return at + run.length - mark.length;
        at += run.length - 1;
      }
    }
    return -1;
  }

  #run() {
    return runAt(this.text, this.#at);
  }

  #inner(/** @type {string} */ text, growing = false) {
    return this.depth < DEEPEST ? new Reader(text, growing, this.depth + 1).read() : [text];
  }

  #literal(/** @type {string} */ run) {
    this.#plain += run;
    this.#at += run.length;
    return true;
  }

  #add(/** @type {Span} */ span, /** @type {number} */ next) {
    this.#push();
    this.#spans.push(span);
    this.#at = next;
    return true;
  }

  #push() {
    if (this.#plain) this.#spans.push(this.#plain);
    this.#plain = "";
  }
}

/** The same character as often as it stands there. */
function runAt(/** @type {string} */ text, /** @type {number} */ at) {
  let end = at;
  while (text[end] === text[at]) end++;
  return text.slice(at, end);
}

/** Where exactly these backticks stand again, -1 if nowhere. */
function closingRun(/** @type {string} */ text, /** @type {string} */ run, /** @type {number} */ from) {
  for (let at = text.indexOf(run, from); at >= 0; at = text.indexOf(run, at)) {
    const found = runAt(text, at);
    if (found.length === run.length) return at;
    at += found.length;
  }
  return -1;
}

/** A link that leads out; to what is no address on the web leads none. @returns {Span} */
function linked(/** @type {string} */ href, /** @type {Span[]} */ spans) {
  return { kind: "link", spans, ...(/^(https?:\/\/|mailto:)/i.test(href) && { href }) };
}

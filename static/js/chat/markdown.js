/**
 * Markdown as models write it, read into blocks and spans. Pure; nothing is ever markup.
 *
 * A part of CommonMark and of GitHub's tables: paragraphs, headings, lists, quotes, rules, fences.
 * Unlike there a line end is a line end, two spaces are enough to nest a list, and what is neither
 * closed nor at its end yet is taken as closed there, so that nothing jumps while it is written.
 */

/**
 * @typedef {Object} Block
 * @property {"paragraph" | "heading" | "code" | "rule" | "quote" | "list" | "table"} kind
 * @property {number} line its first line
 * @property {string} [text] of a paragraph, a heading, code
 * @property {number} [level] of a heading
 * @property {string} [language] of code
 * @property {boolean} [closed] whether code has come to its end
 * @property {string[]} [lines] of a quote, without its marks
 * @property {number} [first] of an ordered list
 * @property {string[][]} [items] of a list: the lines of each
 * @property {string[]} [align] of a table's columns
 * @property {string[]} [rows] of a table as they are written, the first is its head
 */

/** @typedef {string | {kind: "strong" | "em" | "del" | "code" | "link", spans: Span[], href?: string}} Span */

/** Deeper nesting is text. */
const DEEPEST = 8;
/** A paragraph that goes on for longer is ended, so that what follows stays cheap to show. */
const LONGEST = 8000;

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])(?:( +)(.*))?$/;
const CELL = /^:?-+:?$/;

/**
 * @param {string[]} lines
 * @param {number} [depth]
 * @returns {Block[]}
 */
export function blocksOf(lines, depth = 0) {
  /** @type {Block[]} */
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const [block, next] = readCode(lines, at) ?? readLine(lines, at) ?? readTable(lines, at) ?? readNested(lines, at, depth) ?? readParagraph(lines, at);
    blocks.push({ ...block, line: at });
    at = next;
  }
  return blocks;
}

/** @typedef {[Omit<Block, "line">, number]} Read a block, and the line behind it */

/** @returns {Read | null} */
function readCode(/** @type {string[]} */ lines, /** @type {number} */ at) {
  const [, fence, language] = FENCE.exec(lines[at]) ?? [];
  if (!fence) return null;
  const indent = indentOf(lines[at]);
  const end = lines.findIndex((line, i) => i > at && new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \t]*$`).test(line));
  const code = lines.slice(at + 1, end < 0 ? lines.length : end).map((line) => unindented(line, indent));
  return [{ kind: "code", language: language.trim(), text: code.join("\n"), closed: end >= 0 }, end < 0 ? lines.length : end + 1];
}

/** @returns {Read | null} a block of one line */
function readLine(/** @type {string[]} */ lines, /** @type {number} */ at) {
  if (RULE.test(lines[at])) return [{ kind: "rule" }, at + 1];
  const [, marks, text] = HEADING.exec(lines[at]) ?? [];
  return marks ? [{ kind: "heading", level: marks.length, text: text ?? "" }, at + 1] : null;
}

/** @returns {Read | null} */
function readTable(/** @type {string[]} */ lines, /** @type {number} */ at) {
  const marks = lines[at].includes("|") && lines[at + 1]?.includes("-") ? cellsOf(lines[at + 1]) : [];
  if (!marks.length || marks.length !== cellsOf(lines[at]).length || !marks.every((each) => CELL.test(each))) return null;
  let end = at + 2;
  while (lines[end]?.trim() && lines[end].includes("|")) end++;
  const align = marks.map((each) => (!each.endsWith(":") ? "" : each.startsWith(":") ? "center" : "end"));
  return [{ kind: "table", align, rows: [lines[at], ...lines.slice(at + 2, end)] }, end];
}

/** @returns {string[]} of a table's row */
export function cellsOf(/** @type {string} */ row) {
  return row.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** @returns {Read | null} a block that holds blocks */
function readNested(/** @type {string[]} */ lines, /** @type {number} */ at, /** @type {number} */ depth) {
  return depth < DEEPEST ? readQuote(lines, at) ?? readList(lines, at) : null;
}

/** @returns {Read | null} */
function readQuote(/** @type {string[]} */ lines, /** @type {number} */ at) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  return end > at ? [{ kind: "quote", lines: lines.slice(at, end).map((line) => line.replace(QUOTE, "")) }, end] : null;
}

/** @returns {Read | null} */
function readList(/** @type {string[]} */ lines, /** @type {number} */ at) {
  const begin = ITEM.exec(lines[at]);
  if (!begin) return null;
  const items = [];
  let end = at;
  for (let next = at; ; next = behindBlank(lines, end)) {
    const item = ITEM.exec(lines[next] ?? "");
    if (!item || isOrdered(item) !== isOrdered(begin)) break;
    const [content, behind] = readItem(lines, next, item);
    items.push(content);
    end = behind;
  }
  const first = begin[3] === undefined ? undefined : Number(begin[3]);
  return [{ kind: "list", first, items }, end];
}

/** @returns {[string[], number]} the lines of an item without its indent, and the line behind it */
function readItem(/** @type {string[]} */ lines, /** @type {number} */ at, /** @type {RegExpExecArray} */ [, indent, mark, , space = " ", text = ""]) {
  const own = mark.length + (space.length > 4 ? 1 : space.length);
  const content = [text];
  let end = at + 1;
  for (let line = end; line < lines.length; line++) {
    if (!lines[line].trim()) continue;
    const inside = indentOf(lines[line]) >= indent.length + Math.min(2, own);
    const goesOn = line === end && content.at(-1) && !ITEM.test(lines[line]) && !begins(lines, line);
    if (!inside && !goesOn) break;
    for (; end < line; end++) content.push("");
    content.push(unindented(lines[line], indent.length + own));
    end = line + 1;
  }
  return [content, end];
}

/** @returns {Read} */
function readParagraph(/** @type {string[]} */ lines, /** @type {number} */ at) {
  let end = at + 1;
  let length = lines[at].length;
  while (end < lines.length && lines[end].trim() && length < LONGEST && !begins(lines, end)) length += lines[end++].length;
  return [{ kind: "paragraph", text: lines.slice(at, end).map((line) => line.trimStart()).join("\n").trimEnd() }, end];
}

/** Whether a line ends the paragraph before it. */
function begins(/** @type {string[]} */ lines, /** @type {number} */ at) {
  const item = ITEM.exec(lines[at]);
  const isItem = item && item[5] && (item[3] === undefined || item[3] === "1" || at > 0 && ITEM.test(lines[at - 1]));
  return Boolean(isItem || FENCE.test(lines[at]) || QUOTE.test(lines[at]) || readLine(lines, at) || readTable(lines, at));
}

function isOrdered(/** @type {RegExpExecArray} */ item) {
  return item[3] !== undefined;
}

function behindBlank(/** @type {string[]} */ lines, /** @type {number} */ at) {
  while (at < lines.length && !lines[at].trim()) at++;
  return at;
}

function indentOf(/** @type {string} */ line) {
  return line.length - line.trimStart().length;
}

function unindented(/** @type {string} */ line, /** @type {number} */ width) {
  return line.slice(Math.min(width, indentOf(line)));
}

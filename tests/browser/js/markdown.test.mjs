import assert from "node:assert/strict";
import { test } from "node:test";
import { blocksOf, cellsOf } from "../../../static/js/chat/markdown.js";
import { spansOf } from "../../../static/js/chat/spans.js";
import { thoughtIn } from "../../../static/js/chat/thought.js";

/** Blocks as short words, for comparing. */
const outline = (text, depth = 0) => blocksOf(text.split("\n"), depth).map((block) => {
  const { kind, items, lines, rows } = block;
  if (kind === "list") return [block.first ?? "-", ...items.map((each) => outline(each.join("\n"), depth + 1))];
  if (kind === "quote") return [">", ...outline(lines.join("\n"), depth + 1)];
  if (kind === "table") return ["|", ...rows.map(cellsOf)];
  if (kind === "code") return `\`${block.language}\` ${block.text}`;
  if (kind === "heading") return `${"#".repeat(block.level)} ${block.text}`;
  return kind === "rule" ? "---" : block.text;
});

const flat = (spans) => spans.map((span) => {
  if (typeof span === "string") return span;
  return `<${span.kind}${span.href ? ` ${span.href}` : ""}>${flat(span.spans)}</>`;
}).join("");

for (const [text, wanted] of [
  ["one\ntwo\n\nthree", ["one\ntwo", "three"]],
  ["# Head\ntext\n## Other ##\n#no", ["# Head", "text", "## Other", "#no"]],
  ["a\n---\nb\n***", ["a", "---", "b", "---"]],
  ["```js\nlet a = 1;\n\n  b\n```\nafter", ["`js` let a = 1;\n\n  b", "after"]],
  ["~~~\n```\n~~~", ["`` ```"]],
  ["```py\nstill open", ["`py` still open"]],
  ["- a\n- b\n  - c\n    - d\n- e", [["-", ["a"], ["b", ["-", ["c", ["-", ["d"]]]]], ["e"]]]],
  ["1. a\n   more\n2. b\n\n   text\n\n3. c", [[1, ["a\nmore"], ["b", "text"], ["c"]]]],
  ["7) a\n8) b", [[7, ["a"], ["b"]]]],
  ["1. a\n  - in\n2. b", [[1, ["a", ["-", ["in"]]], ["b"]]]],
  ["  - a\n  - b", [["-", ["a"], ["b"]]]],
  ["Buy:\n* milk\n* tea\n\nDone", ["Buy:", ["-", ["milk"], ["tea"]], "Done"]],
  ["- a\nlazy\n\nnew", [["-", ["a\nlazy"]], "new"]],
  ["1. ```\n   x\n   ```\n2. y", [[1, ["`` x"], ["y"]]]],
  ["It was in\n1986. A year", ["It was in\n1986. A year"]],
  ["> a\n> - b\n\nc", [[">", "a", ["-", ["b"]]], "c"]],
  ["See:\n| a | b |\n|---|:-:|\n| 1 | 2\\|3 |\n\nx", ["See:", ["|", ["a", "b"], ["1", "2|3"]], "x"]],
  ["a | b", ["a | b"]],
  [">".repeat(40) + " deep", [[">", [">", [">", [">", [">", [">", [">", [">", ">".repeat(32) + " deep"]]]]]]]]]],
]) test(`blocks of ${JSON.stringify(text.slice(0, 40))}`, () => assert.deepEqual(outline(text), wanted));

for (const [text, wanted] of [
  ["**b** and *i* and ***both***", "<strong>b</> and <em>i</> and <strong><em>both</></>"],
  ["**bold *in* it**", "<strong>bold <em>in</> it</>"],
  ["*a **b***", "<em>a <strong>b</></>"],
  ["2 * 3 * 4, snake_case_name, _em_, __st__", "2 * 3 * 4, snake_case_name, <em>em</>, <strong>st</>"],
  ["`a*b*` ``c ` d``", "<code>a*b*</> <code>c ` d</>"],
  ["**a `**` b**", "<strong>a <code>**</> b</>"],
  ["~~old~~ ~new~", "<del>old</> ~new~"],
  ["\\*not\\* C:\\dir", "*not* C:\\dir"],
  ["[a *b*](https://x.org/a_(b) \"t\")", "<link https://x.org/a_(b)>a <em>b</></>"],
  ["[x](javascript:alert(1)) [y](/logs)", "<link>x</> <link>y</>"],
  ["![pic](https://x.org/p.png)", "<link https://x.org/p.png>pic</>"],
  ["see https://x.org/a_b, or <http://y.org>.", "see <link https://x.org/a_b>https://x.org/a_b</>, or <link http://y.org>http://y.org</>."],
  ["<b>tag</b> &amp; a [b] c", "<b>tag</b> &amp; a [b] c"],
  ["open **bold and `code", "open **bold and `code"],
]) test(`spans of ${JSON.stringify(text)}`, () => assert.equal(flat(spansOf(text)), wanted));

test("what is open at the end of a text that grows is taken as closed there", () => {
  assert.equal(flat(spansOf("a **bo", true)), "a <strong>bo</>");
  assert.equal(flat(spansOf("a **bo*", true)), "a <strong>bo</>");
  assert.equal(flat(spansOf("a `co", true)), "a <code>co</>");
  assert.equal(flat(spansOf("a [li](https://x", true)), "a <link>li</>");
  assert.equal(flat(spansOf("a *", true)), "a ");
});

test("every character is there, whatever is opened and never closed", () => {
  for (const mark of ["*", "**", "_", "`", "[", "![", "~~", "<", "https://", "\\", "|", "> ", "- "]) {
    const text = `${mark}a `.repeat(2000);
    const began = process.cpuUsage().user;
    const plain = (spans) => spans.map((span) => (typeof span === "string" ? span : plain(span.spans))).join("");
    assert.ok(plain(spansOf(text)).replace(/[^a]/g, "").length === 2000, mark);
    blocksOf([text]);
    blocksOf(text.replaceAll(" ", "\n").split("\n"));
    assert.ok(process.cpuUsage().user - began < 2e6, mark);
  }
});

test("what is thought before an answer is told apart", () => {
  assert.equal(thoughtIn("Hello <think>"), null);
  assert.deepEqual(thoughtIn("<think>\nwell"), { thought: "well", answer: -1 });
  assert.deepEqual(thoughtIn("<think>\nwell\n</think>\n\nYes"), { thought: "well", answer: 23 });
  assert.deepEqual(thoughtIn("well\n</think>\n\nYes"), { thought: "well", answer: 15 });
  assert.equal(thoughtIn("say `</think>` to end it"), null);
});

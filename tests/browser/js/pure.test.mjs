import assert from "node:assert/strict";
import { encoded, sharedFile } from "../../../static/js/chat/share.js";
import { test } from "node:test";
import { query } from "../../../static/js/chat/stream.js";
import { presetOf, presetValues } from "../../../static/js/chat/presets.js";
import { diff } from "../../../static/js/logs/diff.js";
import { visibleParts } from "../../../static/js/logs/visible.js";
import { explain, held } from "../../../static/js/shared/explain.js";
import { ago, duration, period, probability, size } from "../../../static/js/shared/format.js";

const side = (parts, left) => parts.filter((p) => p.kind !== left).map((p) => p.text).join("");

test("a diff reads as both texts", () => {
  const pairs = [["", ""], ["abc", "abc"], ["the old fox", "the red fox!"], ["", "new"], ["🦊 fox", "🐺 fox"]];
  for (const [before, after] of pairs) {
    const parts = diff(before, after);
    assert.equal(side(parts, "added"), before);
    assert.equal(side(parts, "removed"), after);
  }
});

test("a diff names the smallest difference and cuts no character", () => {
  assert.deepEqual(diff("a 🦊 b", "a 🐺 b"), [
    { kind: "same", text: "a " },
    { kind: "removed", text: "🦊" },
    { kind: "added", text: "🐺" },
    { kind: "same", text: " b" },
  ]);
});

test("texts that differ as a whole are compared in time", () => {
  const parts = diff("x".repeat(5000), "y".repeat(5000));
  assert.deepEqual(parts.map((p) => p.kind), ["removed", "added"]);
});

test("characters that hide or turn text are named", () => {
  const parts = visibleParts("a\u202eb\u0000\u{e0041}\n\t🦊");
  assert.deepEqual(parts.filter((p) => p.hidden).map((p) => p.text), ["U+202E", "U+0000", "U+E0041"]);
  assert.equal(parts.at(-1).text, "\n\t🦊");
});

test("a request becomes a query in which stop repeats", () => {
  const text = query({ prompt: "a&b", stop: ["x", "y"], seed: 0, messages: null, key: undefined }).toString();
  assert.equal(text, "prompt=a%26b&stop=x&stop=y&seed=0");
});

test("presets are recognised", () => {
  const defaults = { temperature: 0.8, top_k: 50, top_p: 0.95, repetition_penalty: 1.1 };
  assert.equal(presetOf(defaults, defaults), "balanced");
  assert.equal(presetOf({ ...defaults, ...presetValues("creative", defaults) }, defaults), "creative");
  assert.equal(presetOf({ ...defaults, temperature: 0.81 }, defaults), "");
  const tame = { ...defaults, temperature: 0.2 };
  assert.equal(presetValues("precise", tame).temperature, 0.2);
  assert.equal(presetValues("balanced", tame).temperature, 0.2);
  assert.equal(presetValues("creative", tame).temperature, 1.1);
});

test("every failure is explained with something to do", () => {
  for (const status of [0, 400, 401, 403, 404, 413, 422, 500, 503, 599]) {
    const { title, detail } = explain("refused", { status, title: "T", detail: "D." });
    assert.equal(title, "T.");
    assert.ok(detail.startsWith("D."));
  }
  const message = "has 1601 tokens; this model's context is 512, so 511 fit and leave room for one more";
  const long = { status: 422, title: "T", detail: "", errors: [{ field: "prompt", message }] };
  assert.equal(explain("refused", long, true).title, "This conversation is full: 1,601 of 512 tokens.");
  assert.equal(explain("refused", long).title, "This prompt is too long: 1,601 of 512 tokens.");
  assert.equal(explain("done", { finish_reason: "stop" }), null);
  assert.match(explain("gone", {}).title, /no longer/);
});

test("what a server says becomes sentences that a person can act on", () => {
  const said = (problem) => Object.values(explain("refused", problem)).slice(0, 2).join(" ");
  const wrong = { field: "top_k", message: "must be a whole number" };
  assert.match(said({ status: 422, title: "Invalid request", detail: "", errors: [wrong] }),
    /^Invalid request\. Top k must be a whole number\. Change/);
  assert.equal(said({ status: 404, title: "Not found", detail: "there is no record 9" }), "Not found. There is no record 9.");
  assert.match(said({ status: 0, title: "No answer", detail: "It was stopped." }), /Start it again; this page/);
  const failed = explain("failed", { error: { type: "backend", message: "the backend raised RuntimeError" } });
  assert.equal(`${failed.title} ${failed.detail}`, "The model failed. The backend raised RuntimeError.");
  const log = { type: "log", message: "the log cannot be written: full" };
  assert.match(explain("failed", { error: log }).detail, /^The text above is not in the vault yet/);
  assert.equal(explain("failed", { error: { ...log, written: true } }), null);
  assert.match(held({ title: "Queue full", detail: "1 request is waiting already" }), /by itself/);
  assert.equal(held({ title: "Loading", detail: "/health tells how far it is" }), "the model is being loaded");
});

test("figures read well", () => {
  assert.equal(duration(950), "950 ms");
  assert.equal(duration(12_345), "12.3 s");
  assert.equal(duration(125_000), "2 min 5 s");
  assert.equal(size(1536), "1.5 KiB");
  assert.equal(probability(Math.log(0.5)), "50 %");
  assert.equal(probability(-20), "< 0.1 %");
  assert.equal(ago(0, 3_600_000), "1 hour ago");
  const now = new Date(2026, 10, 26, 1).getTime();
  const days = [[2026, 10, 26], [2026, 10, 25, 23], [2026, 10, 21], [2026, 9, 3], [2025, 4, 1]];
  const names = ["Today", "Yesterday", "Last seven days", "October", "May 2025"];
  assert.deepEqual(days.map((day) => period(new Date(...day).getTime(), now)), names);
});

test("a shared answer holds its line and its proof as data, and a conversation as turns", () => {
  const messages = [{ role: "user", content: "<i>Hi" }, { role: "assistant", content: "Half an " }];
  const record = { messages, response: "answer.", model: { name: "m" }, seed: 7 };
  const file = sharedFile({ seq: 3, hash: "ab", line: "{}", record }, encoded("proof"), { prompt: "", text: "" });
  assert.match(file, /<p class="said user">&lt;i&gt;Hi<\/p>/);
  assert.match(file, /<p class="said assistant">Half an answer\.<\/p>/);
  assert.match(file, /id="minivault-line" data-seq="3" data-hash="ab">e30=<\/script>/);
  assert.match(file, /id="minivault-proof">cHJvb2Y=<\/script>/);
  assert.match(file, /minivault logs check THIS-FILE/);
  const kept = sharedFile({ seq: 3, hash: "ab", line: "{}", record: {} }, null, { prompt: "p", text: "t" });
  assert.match(kept, /<span class="prompt">p<\/span>t<\/p>/);
  assert.doesNotMatch(kept, /minivault-proof/);
});

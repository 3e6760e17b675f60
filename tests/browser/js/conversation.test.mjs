import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation, titleOf } from "../../../static/js/chat/conversation.js";
import { slid } from "../../../static/js/chat/window.js";
import { fromJSON, toJSON, toMarkdown } from "../../../static/js/chat/export.js";

const head = () => ({ id: "c", title: "Foxes", created: 1, updated: 1, shown: {} });
const exchange = (id, parent, given = {}) => ({
  id, parent, conversation: "c", created: Number(id), kind: "prompt", context: "above",
  prompt: `p${id}`, text: ` t${id}`, params: {}, key: "k", state: "done", lastEventId: "", ...given,
});

test("a completion model is given the text above, or the prompt alone", () => {
  const conversation = new Conversation(head(), [exchange("1", null), exchange("2", "1")]);
  const [first, second] = conversation.path();
  assert.equal(conversation.sent(first), "p1");
  assert.equal(conversation.sent(second), "p1 t1\n\np2");
  second.context = "alone";
  assert.equal(conversation.sent(second), "p2");
});

test("a continuation goes on exactly where the text ended", () => {
  const conversation = new Conversation(head(), [
    exchange("1", null),
    exchange("2", "1", { kind: "continuation", prompt: "" }),
  ]);
  assert.equal(conversation.sent(conversation.path()[1]), "p1 t1");
});

test("a chat model is given turns, and a continuation ends with the assistant's own", () => {
  const conversation = new Conversation(head(), [
    exchange("1", null),
    exchange("2", "1", { kind: "continuation", prompt: "" }),
    exchange("3", "2"),
  ]);
  const [, second, third] = conversation.path();
  assert.deepEqual(conversation.messages(second).map((m) => m.role), ["user", "assistant"]);
  assert.deepEqual(conversation.messages(third), [
    { role: "user", content: "p1" },
    { role: "assistant", content: " t1 t2" },
    { role: "user", content: "p3" },
  ]);
});

test("a chat that is too long loses whole turns, an answer alone its own begin", () => {
  const conversation = new Conversation(head(), [
    exchange("1", null, { chat: true, text: "an answer of 22 chars." }),
    exchange("2", "1", { chat: true, text: "another one. It is long. " }),
    exchange("3", "2", { chat: true }),
  ]);
  const [first, , third] = conversation.path();
  third.skip = slid(conversation, third, 20, 36);
  assert.deepEqual(conversation.messages(third)[0], { role: "user", content: "p2" });
  third.skip = slid(conversation, third, 100, 10);
  assert.deepEqual(conversation.messages(third), [{ role: "user", content: "p3" }]);
  const more = exchange("4", "1", { chat: true, kind: "continuation", prompt: "", system: "Be brief." });
  first.text = "One sentence. And another one. The end of it";
  more.skip = slid(conversation, more, 20, 32);
  assert.deepEqual(conversation.messages(more), [
    { role: "system", content: "Be brief." },
    { role: "user", content: "p1" },
    { role: "assistant", content: "And another one. The end of it" },
  ]);
});

test("a text that is too long is cut where a sentence begins, and never through a character", () => {
  const conversation = new Conversation(head(), [
    exchange("1", null, { prompt: "Once. ", text: "There was a fox. It ran. It slept" }),
    exchange("2", "1", { kind: "continuation", prompt: "", text: " on." }),
    exchange("3", "2", { prompt: "And then", context: "above" }),
  ]);
  const [first, second, third] = conversation.path();
  second.skip = slid(conversation, second, 20, 30);
  assert.equal(conversation.sent(second), "It ran. It slept");
  third.skip = slid(conversation, third, 1000, 10);
  assert.ok(conversation.sent(third).endsWith("And then"));
  first.text = "🦊".repeat(100);
  second.skip = slid(conversation, second, 21, 20);
  assert.ok(conversation.sent(second).isWellFormed());
});

test("alternatives keep what follows them", () => {
  const conversation = new Conversation(head(), [exchange("1", null), exchange("2", "1"), exchange("3", null)]);
  assert.deepEqual(conversation.path().map((e) => e.id), ["3"]);
  conversation.show(conversation.siblings(conversation.path()[0])[0]);
  assert.deepEqual(conversation.path().map((e) => e.id), ["1", "2"]);
});

test("what was exported comes back, without fields that nobody knows", () => {
  const whole = { head: head(), exchanges: [exchange("1", null, { state: "open", evil: "<script>" })] };
  const [back] = fromJSON(toJSON([whole]));
  assert.equal(back.exchanges[0].text, " t1");
  assert.equal(back.exchanges[0].state, "stopped", "nobody follows an imported answer");
  assert.equal("evil" in back.exchanges[0], false);
});

test("other files are refused in words", () => {
  assert.throws(() => fromJSON("{"), /not JSON/);
  assert.throws(() => fromJSON('{"a": 1}'), /no MiniVault conversations/);
  assert.throws(() => fromJSON('{"format": "minivault-conversations", "conversations": [{}]}'), /damaged/);
});

test("markdown has prompt, answer and what is needed to make it again", () => {
  const end = { finish_reason: "length", receipt: { seq: 7, hash: "abc" } };
  const start = { model: "storyteller", seed: 42, params: { temperature: 0.8 } };
  const text = toMarkdown({ head: head(), exchanges: [exchange("1", null, { start, end })] });
  for (const part of ["# Foxes", "> p1", " t1", "seed 42", "vault line 7", "temperature"])
    assert.ok(text.includes(part), part);
});

test("titles are one short line", () => {
  assert.equal(titleOf("  a\n b "), "a b");
  assert.equal(titleOf("x".repeat(100)).length, 60);
  assert.equal(titleOf("   "), "Untitled");
});

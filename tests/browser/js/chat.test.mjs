import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat } from "../../../static/js/chat/chat.js";
import { Conversation } from "../../../static/js/chat/conversation.js";

/** A chat whose stored conversations are loaded, and exchanges kept, when the test says so. */
function chatWithSlowStore() {
  const waiting = new Map();
  const kept = [];
  const store = Object.assign(new EventTarget(), {
    create: () => new Conversation({ id: "new", title: "", created: 0, updated: 0, shown: {} }),
    load: (id) => new Promise((resolve) => waiting.set(id, resolve)),
    add: (_, exchange) => (kept.push(exchange.prompt), new Promise((resolve) => waiting.set(exchange.prompt, resolve))),
  });
  const loaded = (id) => waiting.get(id)(new Conversation({ id, title: id, created: 0, updated: 0, shown: {} }));
  const server = Object.assign(new EventTarget(), { known: false, state: {} });
  const chat = new Chat(store, server, { values: () => ({}) });
  return { chat, store, kept, waiting, loaded };
}

test("a prompt in a new conversation does not wait for one that is being kept in another", async () => {
  const { chat, kept, waiting } = chatWithSlowStore();
  const first = chat.send("foxes");
  assert.equal(chat.busy, true);
  chat.send("foxes again");
  chat.fresh();
  assert.equal(chat.busy, false);
  const second = chat.send("crows");
  assert.deepEqual(kept, ["foxes", "crows"]);
  for (const prompt of kept) waiting.get(prompt)();
  await Promise.all([first, second]);
  assert.equal(chat.runs.size, 2);
});

test("a new conversation stays when one is loaded that was asked for before", async () => {
  const { chat, loaded } = chatWithSlowStore();
  const opened = chat.open("foxes");
  chat.fresh();
  loaded("foxes");
  await opened;
  assert.equal(chat.conversation.head.id, "new");
});

test("of two that are asked for the later one is shown, whichever is loaded first", async () => {
  const { chat, loaded } = chatWithSlowStore();
  const opened = [chat.open("foxes"), chat.open("crows")];
  loaded("crows");
  loaded("foxes");
  await Promise.all(opened);
  assert.equal(chat.conversation.head.id, "crows");
});

test("what another tab changes of the one on display leaves alone what is asked for", async () => {
  const { chat, store, loaded } = chatWithSlowStore();
  const foxes = chat.open("foxes");
  loaded("foxes");
  await foxes;
  const crows = chat.open("crows");
  store.dispatchEvent(new CustomEvent("elsewhere", { detail: "foxes" }));
  loaded("crows");
  await crows;
  assert.equal(chat.conversation.head.id, "crows");
});

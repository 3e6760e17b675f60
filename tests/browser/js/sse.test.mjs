import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser, events } from "../../../static/js/chat/sse.js";

const STREAM =
  "retry: 1000\n\nid: g.0\nevent: start\ndata: {}\n\n: ping\n\nid: g.1\ndata: {\"text\":\" thé 🦊\"}\n\n" +
  "data: two\ndata: lines\n\nid: g.2\r\nevent: done\r\ndata: x\r\n\r\ndata: cr\rid\r\rdata: cut";
const EXPECTED = [
  { event: "start", data: "{}", id: "g.0" },
  { event: "message", data: '{"text":" thé 🦊"}', id: "g.1" },
  { event: "message", data: "two\nlines", id: "g.1" },
  { event: "done", data: "x", id: "g.2" },
  { event: "message", data: "cr", id: "" },
];

function bodyOf(chunks) {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

async function collect(chunks) {
  const found = [];
  for await (const event of events(bodyOf(chunks))) found.push(event);
  return found;
}

test("the whole stream at once gives all events, and not the unfinished one", async () => {
  assert.deepEqual(await collect([new TextEncoder().encode(STREAM)]), EXPECTED);
});

/** The same as `events` does with a body, without its promises: thousands of cuts in a moment. */
function parse(chunks) {
  const [decoder, parser] = [new TextDecoder(), new EventParser()];
  return chunks.flatMap((chunk) => [...parser.push(decoder.decode(chunk, { stream: true }))]);
}

test("two cuts at any bytes, also inside a character or between CR and LF, change nothing", () => {
  const bytes = new TextEncoder().encode(STREAM);
  for (let a = 0; a <= bytes.length; a++)
    for (const b of [a, a + 1, Math.min(a + 7, bytes.length)])
      assert.deepEqual(parse([bytes.slice(0, a), bytes.slice(a, b), bytes.slice(b)]), EXPECTED);
});

test("a byte order mark at the begin is dropped", async () => {
  const [event] = await collect([new TextEncoder().encode("\ufeffdata: x\n\n")]);
  assert.equal(event.data, "x");
});

test("only one blank after the colon belongs to the syntax", () => {
  const [event] = [...new EventParser().push("data:  there\n\n")];
  assert.equal(event.data, " there");
});

test("an id with NUL is ignored, an empty one clears", () => {
  const parser = new EventParser();
  const found = [...parser.push("id: a.1\ndata: x\n\nid: b\0\ndata: y\n\nid\ndata: z\n\n")];
  assert.deepEqual(found.map((event) => event.id), ["a.1", "a.1", ""]);
});

test("a block without data fires nothing and forgets its name", () => {
  const found = [...new EventParser().push("event: start\n\ndata: x\n\n")];
  assert.deepEqual(found, [{ event: "message", data: "x", id: "" }]);
});

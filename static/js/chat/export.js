/** Conversations as files: JSON, which can be imported again, and Markdown for reading. Pure. */

import { Conversation } from "./conversation.js";

const FORMAT = "minivault-conversations";
const STATES = ["done", "stopped", "failed", "gone", "refused"];

/** @typedef {import("./conversation.js").Head} Head */
/** @typedef {import("./conversation.js").Exchange} Exchange */
/** @typedef {{head: Head, exchanges: Exchange[]}} Whole */

/** @param {Whole[]} conversations */
export function toJSON(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/**
 * @param {string} text of an exported file
 * @returns {Whole[]} with known fields only; throws Error with a sentence for people
 */
export function fromJSON(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error("This file is not JSON. Choose one that this page exported.");
  }
  if (data?.format !== FORMAT || !Array.isArray(data.conversations))
    throw new Error("This file holds no MiniVault conversations.");
  return data.conversations.map(readWhole);
}

/** The exchanges on display, with what is needed to make them again. */
export function toMarkdown(/** @type {Whole} */ { head, exchanges }) {
  const path = new Conversation(head, exchanges).path();
  return [`# ${head.title}`, ...path.flatMap(exchangeLines)].join("\n\n") + "\n";
}

/** @returns {string[]} */
function exchangeLines(/** @type {Exchange} */ exchange) {
  const { start = {}, end = {} } = exchange;
  const facts = [
    new Date(exchange.created).toISOString(),
    start.model,
    start.seed !== undefined && `seed ${start.seed}`,
    end.finish_reason,
    end.receipt && `vault line ${end.receipt.seq}, ${end.receipt.hash}`,
  ];
  const parameters = start.params ? `Parameters: \`${JSON.stringify(start.params)}\`` : "";
  const prompt = exchange.kind === "continuation" ? "*(continued)*" : quoted(exchange.prompt);
  return [prompt, exchange.text, `<sub>${facts.filter(Boolean).join(" · ")}</sub>`, parameters].filter(Boolean);
}

function quoted(/** @type {string} */ text) {
  return text.replace(/^/gm, "> ");
}

/** @returns {Whole} */
function readWhole(/** @type {any} */ whole) {
  const { head, exchanges } = whole ?? {};
  if (typeof head?.id !== "string" || !Array.isArray(exchanges))
    throw new Error("A conversation in this file is damaged.");
  return {
    head: {
      id: head.id,
      title: String(head.title),
      created: Number(head.created) || Date.now(),
      updated: Number(head.updated) || Date.now(),
      ...(head.system && { system: String(head.system) }),
      ...(head.pinned && { pinned: true }),
      shown: Object.fromEntries(Object.entries(head.shown ?? {}).map(([k, v]) => [k, String(v)])),
    },
    exchanges: exchanges.map((each) => readExchange(each, head.id)),
  };
}

/** An answer that was open when it was exported is not followed any more. @returns {Exchange} */
function readExchange(/** @type {any} */ each, /** @type {string} */ conversation) {
  if (typeof each?.id !== "string") throw new Error("An answer in this file is damaged.");
  const { start, end, pieces } = each;
  return {
    id: each.id,
    conversation,
    parent: typeof each.parent === "string" ? each.parent : null,
    created: Number(each.created) || 0,
    kind: each.kind === "continuation" ? "continuation" : "prompt",
    context: each.context === "above" ? "above" : "alone",
    prompt: String(each.prompt ?? ""),
    params: each.params ?? {},
    key: String(each.key ?? ""),
    state: STATES.includes(each.state) ? each.state : "stopped",
    text: String(each.text ?? ""),
    lastEventId: String(each.lastEventId ?? ""),
    ...(typeof each.chat === "boolean" && { chat: each.chat }),
    ...(each.system && { system: String(each.system) }),
    ...(Number.isSafeInteger(each.skip) && { skip: each.skip }),
    ...(start && { start }),
    ...(end && { end }),
    ...(Array.isArray(pieces) && { pieces }),
  };
}

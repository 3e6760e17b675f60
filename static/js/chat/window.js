/** A text that has outgrown the model's context goes on without its oldest part. Pure. */

import { lengthOf } from "./conversation.js";

/** How much of the context is filled again when it was full: the rest is room to go on. */
const KEPT = 1 / 2;
/** An answer should have this share of the context, or as much as it may have. */
const ROOM = 1 / 4;
/** How far a cut may be moved to the begin of a sentence. */
const SENTENCE = 400;

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./conversation.js").Exchange} Exchange */

/**
 * @param {number} tokens taken already
 * @param {number} maxTokens that an answer may have
 * @param {number} context
 */
export function isFull(tokens, maxTokens, context) {
  return tokens + Math.min(maxTokens, context * ROOM) > context;
}

/**
 * How many characters to leave out so that an exchange fits.
 * @param {Conversation} conversation
 * @param {Exchange} exchange
 * @param {number} tokens that it has as it is
 * @param {number} context
 * @returns {number} from the begin of the conversation; cut between turns or sentences if possible
 */
export function slid(conversation, exchange, tokens, context) {
  const size = exchange.chat
    ? conversation.messages(exchange).reduce((sum, { content }) => sum + content.length, 0)
    : conversation.sent(exchange).length;
  const excess = Math.ceil(size * (1 - (KEPT * context) / tokens));
  const skip = (exchange.skip ?? 0) + Math.max(0, excess);
  return exchange.chat ? betweenTurns(conversation, exchange, skip) : betweenSentences(conversation, exchange, skip);
}

/** Only an answer that is continued and is alone too long loses its own begin. */
function betweenTurns(/** @type {Conversation} */ conversation, /** @type {Exchange} */ exchange, /** @type {number} */ skip) {
  const turns = conversation.turns(exchange);
  const last = turns[turns.length - 1];
  let border = 0;
  for (const turn of turns.slice(0, -1)) {
    if (border >= skip) return border;
    border += lengthOf(turn);
  }
  if (border >= skip || !last.answer) return border;
  return border + borderIn(last.answer, skip - border);
}

function betweenSentences(/** @type {Conversation} */ conversation, /** @type {Exchange} */ exchange, /** @type {number} */ skip) {
  const above = conversation.above(exchange);
  if (skip >= above.length && exchange.kind === "prompt") return above.length;
  return borderIn(above, skip);
}

/** Where a sentence begins after a place of a text, else a word; never its very end. */
function borderIn(/** @type {string} */ text, /** @type {number} */ from) {
  const start = Math.max(0, Math.min(from, text.length - 1));
  const rest = text.slice(start, start + SENTENCE);
  const found = /\n\s*\n|[.!?…]["”’)]*\s+/.exec(rest) ?? /\s+/.exec(rest);
  const at = start + (found ? found.index + found[0].length : 0);
  const border = at >= text.length ? start : at;
  return /[\udc00-\udfff]/.test(text[border] ?? "") ? border + 1 : border;
}

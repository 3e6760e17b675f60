/** A conversation is a tree of exchanges; its branches are the alternatives. Pure, no browser needed. */

/**
 * @typedef {Object} Exchange a prompt and its answer
 * @property {string} id
 * @property {string} conversation
 * @property {string | null} parent the exchange it follows
 * @property {number} created milliseconds
 * @property {"prompt" | "continuation"} kind a continuation has no prompt of its own
 * @property {"alone" | "above"} context what a completion model is given besides the prompt
 * @property {string} prompt
 * @property {boolean} [chat] whether the model takes turns; not there until that is known
 * @property {string} [system] how a chat model was told to answer
 * @property {number} [skip] how many of the oldest characters above were left out: the context was full
 * @property {any} params as asked for, with the seed if one was asked for
 * @property {string} key
 * @property {"open" | "done" | "stopped" | "failed" | "gone" | "refused"} state
 * @property {string} text the answer so far
 * @property {string} lastEventId the event that `text` ends with
 * @property {any} [start] model, seed, prompt_tokens, params as the server reports them
 * @property {any} [end] finish_reason, usage, timings, receipt; or the problem
 * @property {any[]} [pieces] text and logprobs of each piece, where they were asked for
 */

/**
 * @typedef {Object} Head what is stored of a conversation besides its exchanges
 * @property {string} id
 * @property {string} title
 * @property {number} created
 * @property {number} updated
 * @property {string} [system] how a chat model is to answer
 * @property {boolean} [pinned] whether it stands above all others
 * @property {Record<string, string>} shown the chosen child of each exchange
 */

const ROOT = "root";

export class Conversation {
  /** @type {Map<string, Exchange>} */
  exchanges = new Map();

  /**
   * @param {Head} head
   * @param {Exchange[]} exchanges in any order
   */
  constructor(head, exchanges = []) {
    this.head = head;
    for (const exchange of [...exchanges].sort((a, b) => a.created - b.created)) this.add(exchange);
  }

  /** @param {Exchange} exchange */
  add(exchange) {
    this.exchanges.set(exchange.id, exchange);
  }

  /** The exchanges on display, from the first to the last. */
  path() {
    const path = [];
    for (let next = this.#shownChild(null); next; next = this.#shownChild(next.id)) path.push(next);
    return path;
  }

  /** The alternatives of an exchange, itself among them, oldest first. */
  siblings(/** @type {Exchange} */ exchange) {
    return this.#children(exchange.parent);
  }

  /** Puts an exchange, and what follows it, on display. */
  show(/** @type {Exchange} */ exchange) {
    this.head.shown[exchange.parent ?? ROOT] = exchange.id;
  }

  /** The text that a completion model is given for an exchange. */
  sent(/** @type {Exchange} */ exchange) {
    const { skip = 0, prompt } = exchange;
    return skip && skip >= this.above(exchange).length ? prompt : this.#whole(exchange).slice(skip);
  }

  /** The text up to and with an exchange's answer, nothing left out. @returns {string} */
  textThrough(/** @type {string | null} */ id) {
    const exchange = this.exchanges.get(id ?? "");
    return exchange ? this.#whole(exchange) + exchange.text : "";
  }

  /** What stands above an exchange's own prompt. @returns {string} */
  above(/** @type {Exchange} */ exchange) {
    return exchange.context === "above" ? this.textThrough(exchange.parent) : "";
  }

  /** A text with all that it continues: with its beginning, or for a chat model only what was answered. */
  story(/** @type {Exchange} */ exchange) {
    const line = this.#ancestors(exchange);
    const first = line.findLastIndex((each) => each.kind === "prompt");
    const said = line.slice(Math.max(0, first)).map((each) => each.text).join("");
    return exchange.chat || first < 0 ? said : line[first].prompt + said;
  }

  /** What a text with its continuations begins with. */
  begin(/** @type {Exchange} */ exchange) {
    return this.#ancestors(exchange).findLast((each) => each.kind === "prompt") ?? exchange;
  }

  /** Whether something besides its own prompt is sent with an exchange. */
  hasAbove(/** @type {Exchange} */ exchange) {
    return exchange.context === "above" && this.exchanges.has(exchange.parent ?? "");
  }

  #whole(/** @type {Exchange} */ exchange) {
    const above = this.above(exchange);
    if (!above || exchange.kind === "continuation") return above + exchange.prompt;
    return above + (/\s$/.test(above) ? "" : "\n\n") + exchange.prompt;
  }

  /**
   * The conversation as a chat template takes it: the exchange's own prompt comes last, or the
   * answer that it continues.
   */
  messages(/** @type {Exchange} */ exchange) {
    const [turns, left] = this.#window(exchange);
    /** @type {{role: string, content: string}[]} */
    const messages = exchange.system ? [{ role: "system", content: exchange.system }] : [];
    for (const [i, { prompt, answer }] of turns.entries()) {
      if (prompt !== null) messages.push({ role: "user", content: prompt });
      if (answer !== null) messages.push({ role: "assistant", content: i ? answer : answer.slice(left) });
    }
    return messages;
  }

  /** An exchange's prompts and answers from the first on, continuations as one with what they continue. */
  turns(/** @type {Exchange} */ exchange) {
    /** @type {{prompt: string | null, answer: string | null}[]} */
    const turns = [];
    for (const each of this.#ancestors(exchange)) {
      if (each.kind === "prompt") turns.push({ prompt: each.prompt, answer: null });
      else if (!turns.length) turns.push({ prompt: null, answer: null });
      const last = turns[turns.length - 1];
      if (each !== exchange) last.answer = (last.answer ?? "") + each.text;
    }
    return turns;
  }

  /** The turns that are sent, and how many characters of the first one's answer are not. */
  #window(/** @type {Exchange} */ exchange) {
    const turns = this.turns(exchange);
    let left = exchange.skip ?? 0;
    while (turns.length > 1 && left >= lengthOf(turns[0])) left -= lengthOf(/** @type {any} */ (turns.shift()));
    return /** @type {const} */ ([turns, left]);
  }

  /** From the first exchange down to this one. */
  #ancestors(/** @type {Exchange} */ exchange) {
    const line = [exchange];
    for (let up = exchange.parent; up && this.exchanges.has(up); up = line[0].parent)
      line.unshift(/** @type {Exchange} */ (this.exchanges.get(up)));
    return line;
  }

  #children(/** @type {string | null} */ parent) {
    return [...this.exchanges.values()].filter((each) => each.parent === parent);
  }

  #shownChild(/** @type {string | null} */ parent) {
    const children = this.#children(parent);
    const chosen = this.head.shown[parent ?? ROOT];
    return children.find((each) => each.id === chosen) ?? children.at(-1);
  }
}

/** How many characters a turn has. */
export function lengthOf(/** @type {{prompt: string | null, answer: string | null}} */ { prompt, answer }) {
  return (prompt?.length ?? 0) + (answer?.length ?? 0);
}

/**
 * @param {string} text of the first prompt
 * @returns {string} a line short enough for the side bar
 */
export function titleOf(text) {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line || "Untitled";
}

/** Reads Server-Sent Events from a fetched body, by the rules of the HTML standard (9.2.6). */

/** @typedef {{event: string, data: string, id: string}} ServerEvent */

/** Turns text, cut anywhere, into events. Pure: no clock, no network. */
export class EventParser {
  #rest = "";
  #afterReturn = false;
  #event = "";
  /** @type {string[]} */
  #data = [];
  #id = "";

  /**
   * @param {string} text the next part of the stream
   * @returns {Generator<ServerEvent>} the events that are whole now
   */
  *push(text) {
    for (const line of this.#lines(text)) {
      if (line !== "") this.#field(line);
      else if (this.#data.length) yield this.#take();
      else this.#event = "";
    }
  }

  /** CR, LF and CRLF end a line; a CR ends it at once, and a LF right after it counts as part of it. */
  *#lines(/** @type {string} */ text) {
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    else if (text === "") return;
    this.#afterReturn = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? "";
    yield* lines;
  }

  #field(/** @type {string} */ line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }

  #take() {
    const event = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    this.#event = "";
    this.#data = [];
    return event;
  }
}

/**
 * @param {ReadableStream<Uint8Array>} body of a fetched response
 * @returns {AsyncGenerator<ServerEvent>} an unfinished event at the end is dropped
 */
export async function* events(body) {
  const decoder = new TextDecoder();
  const parser = new EventParser();
  const reader = body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read())
      yield* parser.push(decoder.decode(part.value, { stream: true }));
  } finally {
    reader.cancel().catch(() => {});
  }
}

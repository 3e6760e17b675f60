/** The conversations of this browser, the same in all its tabs. */

import { newKey } from "./stream.js";
import { Conversation, titleOf } from "./conversation.js";
import { Database } from "./database.js";

/** @typedef {import("./conversation.js").Head} Head */
/** @typedef {import("./conversation.js").Exchange} Exchange */

/**
 * Fires "change" when the list of conversations has changed, here or in another tab, and
 * "elsewhere" (detail: conversation id) when another tab has changed one.
 */
export class Store extends EventTarget {
  #database;
  #tabs = openTabs();

  static async open() {
    return new Store(await Database.open());
  }

  /** @param {Database} database */
  constructor(database) {
    super();
    this.#database = database;
    if (this.#tabs)
      this.#tabs.onmessage = (message) => {
        this.dispatchEvent(new Event("change"));
        this.dispatchEvent(new CustomEvent("elsewhere", { detail: message.data }));
      };
  }

  /** @returns {Promise<Head[]>} the latest first */
  async list() {
    return (await this.#database.heads()).sort((a, b) => b.updated - a.updated);
  }

  /** The conversations whose title or text contains the words, as ids. */
  async search(/** @type {string} */ words) {
    const wanted = words.toLocaleLowerCase();
    const has = (/** @type {string} */ text) => text.toLocaleLowerCase().includes(wanted);
    const titles = (await this.#database.heads()).filter((head) => has(head.title));
    const texts = (await this.#database.exchanges()).filter((each) => has(each.prompt) || has(each.text));
    return new Set([...titles.map((head) => head.id), ...texts.map((each) => each.conversation)]);
  }

  /** A new conversation, stored with its first exchange. */
  create() {
    const now = Date.now();
    return new Conversation({ id: newKey(), title: "", created: now, updated: now, shown: {} });
  }

  /** @returns {Promise<Conversation | null>} */
  async load(/** @type {string} */ id) {
    const head = await this.#database.head(id);
    return head ? new Conversation(head, await this.#database.exchanges(id)) : null;
  }

  /** Adds an exchange to a conversation and shows it. */
  async add(/** @type {Conversation} */ conversation, /** @type {Exchange} */ exchange) {
    conversation.add(exchange);
    conversation.show(exchange);
    conversation.head.title ||= titleOf(exchange.prompt);
    conversation.head.updated = Date.now();
    await this.save(exchange);
    await this.saveHead(conversation.head);
  }

  /** Keeps what an exchange has become; quiet, other tabs follow the generation themselves. */
  save(/** @type {Exchange} */ exchange) {
    return this.#database.saveExchange(exchange);
  }

  async saveHead(/** @type {Head} */ head) {
    await this.#database.saveHead(head);
    this.#changed(head.id);
  }

  async remove(/** @type {string} */ id) {
    await this.#database.remove(id);
    this.#changed(id);
  }

  /** @returns {Promise<{head: Head, exchanges: Exchange[]}[]>} one conversation, or all */
  async export(/** @type {string} */ id = "") {
    const heads = (await this.list()).filter((head) => !id || head.id === id);
    const whole = heads.map(async (head) => ({ head, exchanges: await this.#database.exchanges(head.id) }));
    return Promise.all(whole);
  }

  /**
   * Takes conversations in. One that is there as it is stays; one that has become another is added a
   * second time, never overwritten.
   * @returns {Promise<number>} how many are new
   */
  async import(/** @type {{head: Head, exchanges: Exchange[]}[]} */ conversations) {
    let taken = 0;
    for (const { head, exchanges } of conversations) {
      const known = await this.#database.head(head.id);
      if (known && holds(await this.#database.exchanges(head.id), exchanges)) continue;
      taken++;
      const named = known ? renamed(head, exchanges) : { head, exchanges };
      for (const exchange of named.exchanges) await this.#database.saveExchange(exchange);
      await this.saveHead(named.head);
    }
    return taken;
  }

  #changed(/** @type {string} */ id) {
    this.dispatchEvent(new Event("change"));
    this.#tabs?.postMessage(id);
  }
}

/** The way to the other tabs; a browser that keeps nothing may forbid it as well. */
function openTabs() {
  try {
    return new BroadcastChannel("minivault");
  } catch {
    return null;
  }
}

/** Whether every answer is there already, with this text or more of it. */
function holds(/** @type {Exchange[]} */ known, /** @type {Exchange[]} */ exchanges) {
  const texts = new Map(known.map((each) => [each.id, each.text]));
  return exchanges.every((each) => texts.get(each.id)?.startsWith(each.text));
}

/** The same conversation under new ids. */
function renamed(/** @type {Head} */ head, /** @type {Exchange[]} */ exchanges) {
  const conversation = newKey();
  const ids = new Map(exchanges.map((each) => [each.id, newKey()]));
  const id = (/** @type {string | null} */ old) => (old === null ? null : ids.get(old) ?? null);
  const shown = Object.entries(head.shown).map(([parent, child]) => [ids.get(parent) ?? parent, id(child)]);
  return {
    head: { ...head, id: conversation, shown: Object.fromEntries(shown) },
    exchanges: exchanges.map((each) => ({
      ...each,
      id: /** @type {string} */ (id(each.id)),
      parent: id(each.parent),
      conversation,
    })),
  };
}

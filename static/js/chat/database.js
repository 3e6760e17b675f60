/** Where conversations are kept: IndexedDB, or memory where the browser allows none or is full. */

import { tellUnkept } from "../shared/storage.js";

/** @typedef {import("./conversation.js").Head} Head */
/** @typedef {import("./conversation.js").Exchange} Exchange */

const NAME = "minivault";

/** The same methods as the places below; what one of them refuses goes into memory. */
export class Database {
  /** @type {IndexedDB | Memory} */
  #place = new Memory();
  /** @type {Promise<void> | null} */
  #leaving = null;

  static async open() {
    const database = new Database();
    try {
      database.#place = await openIndexedDB();
    } catch {
      tellUnkept();
    }
    return database;
  }

  heads() {
    return this.#try((place) => place.heads());
  }

  head(/** @type {string} */ id) {
    return this.#try((place) => place.head(id));
  }

  saveHead(/** @type {Head} */ head) {
    return this.#try((place) => place.saveHead(head));
  }

  exchanges(conversation = "") {
    return this.#try((place) => place.exchanges(conversation));
  }

  saveExchange(/** @type {Exchange} */ exchange) {
    return this.#try((place) => place.saveExchange(exchange));
  }

  remove(/** @type {string} */ id) {
    return this.#try((place) => place.remove(id));
  }

  /** @template T @param {(place: IndexedDB | Memory) => Promise<T>} work @returns {Promise<T>} */
  async #try(work) {
    const place = this.#place;
    try {
      return await work(place);
    } catch (error) {
      if (place instanceof Memory) throw error;
      await (this.#leaving ??= this.#leave(place));
      return work(this.#place);
    }
  }

  /** What can still be read goes along; what is kept for good stays where it is. */
  async #leave(/** @type {IndexedDB} */ place) {
    const memory = new Memory();
    try {
      for (const head of await place.heads()) await memory.saveHead(head);
      for (const exchange of await place.exchanges()) await memory.saveExchange(exchange);
    } catch {
      // nor can it be read any more: the visit goes on with what is on the page
    }
    this.#place = memory;
    tellUnkept();
  }
}

async function openIndexedDB() {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore("heads", { keyPath: "id" });
    const exchanges = opening.result.createObjectStore("exchanges", { keyPath: "id" });
    exchanges.createIndex("conversation", "conversation");
  };
  return new IndexedDB(await answer(opening));
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** A full disk may show only at the end of a transaction. @returns {Promise<void>} */
function written(/** @type {IDBTransaction} */ transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

class IndexedDB {
  constructor(/** @type {IDBDatabase} */ database) {
    this.database = database;
  }

  #store(/** @type {string} */ name, /** @type {IDBTransactionMode} */ mode = "readonly") {
    return this.database.transaction(name, mode).objectStore(name);
  }

  /** @returns {Promise<Head[]>} */
  heads() {
    return answer(this.#store("heads").getAll());
  }

  /** @returns {Promise<Head | undefined>} */
  head(/** @type {string} */ id) {
    return answer(this.#store("heads").get(id));
  }

  async saveHead(/** @type {Head} */ head) {
    const store = this.#store("heads", "readwrite");
    store.put(head);
    await written(store.transaction);
  }

  /** @returns {Promise<Exchange[]>} those of one conversation, or all */
  exchanges(/** @type {string} */ conversation = "") {
    const store = this.#store("exchanges");
    return answer(conversation ? store.index("conversation").getAll(conversation) : store.getAll());
  }

  /** An ended exchange is never overwritten by a tab that is still behind. */
  async saveExchange(/** @type {Exchange} */ exchange) {
    const store = this.#store("exchanges", "readwrite");
    const end = written(store.transaction);
    const reading = store.get(exchange.id);
    reading.onsuccess = () => {
      const isOver = reading.result && reading.result.state !== "open";
      if (exchange.state !== "open" || !isOver) store.put(exchange);
    };
    await end;
  }

  async remove(/** @type {string} */ id) {
    const keys = await answer(this.#store("exchanges").index("conversation").getAllKeys(id));
    await answer(this.#store("heads", "readwrite").delete(id));
    const store = this.#store("exchanges", "readwrite");
    await Promise.all(keys.map((key) => answer(store.delete(key))));
  }
}

class Memory {
  /** @type {Map<string, Head>} */
  #heads = new Map();
  /** @type {Map<string, Exchange>} */
  #exchanges = new Map();

  async heads() {
    return [...this.#heads.values()];
  }

  async head(/** @type {string} */ id) {
    return this.#heads.get(id);
  }

  async saveHead(/** @type {Head} */ head) {
    this.#heads.set(head.id, structuredClone(head));
  }

  async exchanges(/** @type {string} */ conversation = "") {
    const all = [...this.#exchanges.values()];
    return conversation ? all.filter((each) => each.conversation === conversation) : all;
  }

  async saveExchange(/** @type {Exchange} */ exchange) {
    this.#exchanges.set(exchange.id, structuredClone(exchange));
  }

  async remove(/** @type {string} */ id) {
    this.#heads.delete(id);
    for (const each of await this.exchanges(id)) this.#exchanges.delete(each.id);
  }
}

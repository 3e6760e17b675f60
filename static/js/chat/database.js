/** Where conversations are kept: IndexedDB, or memory where the browser allows none. */

/** @typedef {import("./conversation.js").Head} Head */
/** @typedef {import("./conversation.js").Exchange} Exchange */

const NAME = "minivault";

/** @returns {Promise<IndexedDB | Memory>} */
export async function openDatabase() {
  try {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("heads", { keyPath: "id" });
      const exchanges = opening.result.createObjectStore("exchanges", { keyPath: "id" });
      exchanges.createIndex("conversation", "conversation");
    };
    return new IndexedDB(await answer(opening));
  } catch {
    return new Memory();
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

class IndexedDB {
  kept = true;

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

  saveHead(/** @type {Head} */ head) {
    return answer(this.#store("heads", "readwrite").put(head));
  }

  /** @returns {Promise<Exchange[]>} those of one conversation, or all */
  exchanges(/** @type {string} */ conversation = "") {
    const store = this.#store("exchanges");
    return answer(conversation ? store.index("conversation").getAll(conversation) : store.getAll());
  }

  /** An ended exchange is never overwritten by a tab that is still behind. */
  async saveExchange(/** @type {Exchange} */ exchange) {
    const store = this.#store("exchanges", "readwrite");
    const kept = await answer(store.get(exchange.id));
    if (exchange.state !== "open" || !kept || kept.state === "open") await answer(store.put(exchange));
  }

  async remove(/** @type {string} */ id) {
    const keys = await answer(this.#store("exchanges").index("conversation").getAllKeys(id));
    await answer(this.#store("heads", "readwrite").delete(id));
    const store = this.#store("exchanges", "readwrite");
    await Promise.all(keys.map((key) => answer(store.delete(key))));
  }
}

class Memory {
  kept = false;
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

/** Where the list's rows come from: the whole log by place, or what a search has found so far. */

import { getJSON } from "../shared/api.js";

/** Rows asked for at once. */
const PAGE = 100;

/**
 * @typedef {Object} Source fires "change" when rows have arrived
 * @property {number} count rows known to exist
 * @property {boolean} complete whether `count` is final
 * @property {(index: number) => any} row a summary; undefined until it is here
 * @property {(first: number, last: number) => void} need asks for rows that will be shown
 */

/** The whole log, newest first. Places are contiguous, so any part of a million can be asked for. */
export class WholeLog extends EventTarget {
  complete = true;
  /** @type {Map<number, any>} */
  #rows = new Map();
  /** @type {Set<number>} pages, counted from the log's beginning: new lines move none of them */
  #asked = new Set();

  /** @param {number} first @param {number} last sequence numbers; last is 0 for an empty log */
  constructor(first, last) {
    super();
    this.first = first;
    this.last = last;
  }

  get count() {
    return this.last ? this.last - this.first + 1 : 0;
  }

  row(/** @type {number} */ index) {
    return this.#rows.get(this.last - index);
  }

  /** The sequence number at an index, also of a row that is not here yet. */
  seqAt(/** @type {number} */ index) {
    return this.last - index;
  }

  /** The index of a sequence number, -1 if it is not in the log. */
  indexOf(/** @type {number} */ seq) {
    const index = this.last - seq;
    return index >= 0 && index < this.count ? index : -1;
  }

  /** The log has grown. What is on display is asked for again: a new line may redact an old one. */
  grow(/** @type {number} */ first, /** @type {number} */ last) {
    this.first = first;
    this.last = last;
    this.#asked.clear();
    this.dispatchEvent(new Event("change"));
  }

  need(/** @type {number} */ first, /** @type {number} */ last) {
    const page = (/** @type {number} */ index) => Math.floor((this.seqAt(index) - 1) / PAGE);
    for (let each = page(last); each <= page(first); each++) this.#load(each);
  }

  async #load(/** @type {number} */ page) {
    if (this.#asked.has(page) || !this.count) return;
    this.#asked.add(page);
    try {
      const found = await getJSON(`logs/records?limit=${PAGE}&before=${(page + 1) * PAGE + 1}`);
      for (const each of found.records) this.#keep(each);
      this.dispatchEvent(new Event("change"));
    } catch {
      this.#asked.delete(page);
    }
  }

  /** A row that is as it was stays the same object, so that it is not drawn again. */
  #keep(/** @type {any} */ row) {
    if (JSON.stringify(this.#rows.get(row.seq)) !== JSON.stringify(row)) this.#rows.set(row.seq, row);
  }
}

/** What matches a filter, as far as it has been searched. */
export class Matches extends EventTarget {
  complete = false;
  looked = 0;
  /** @type {any[]} */
  #rows = [];
  /** @type {number | null} */
  #before = null;
  #searching = false;
  #wanted = PAGE;
  #abort = new AbortController();

  /** @param {URLSearchParams} filter */
  constructor(filter) {
    super();
    this.filter = filter;
    this.#search();
  }

  get count() {
    return this.#rows.length;
  }

  row(/** @type {number} */ index) {
    return this.#rows[index];
  }

  seqAt(/** @type {number} */ index) {
    return this.#rows[index]?.seq;
  }

  indexOf(/** @type {number} */ seq) {
    return this.#rows.findIndex((row) => row.seq === seq);
  }

  need(/** @type {number} */ _, /** @type {number} */ last) {
    this.#wanted = Math.max(this.#wanted, last + PAGE);
    this.#search();
  }

  close() {
    this.#abort.abort();
    this.complete = true;
  }

  /** Rests as soon as there are rows enough, and for good when all has been looked through. */
  async #search() {
    if (this.#searching) return;
    this.#searching = true;
    try {
      while (!this.complete && this.count < this.#wanted) await this.#next();
    } catch {
      this.complete = true;
      this.dispatchEvent(new Event("change"));
    }
    this.#searching = false;
  }

  async #next() {
    const query = new URLSearchParams(this.filter);
    query.set("limit", String(PAGE));
    if (this.#before) query.set("before", String(this.#before));
    const found = await getJSON(`logs/records?${query}`, this.#abort.signal);
    this.#rows.push(...found.records);
    this.#before = found.before;
    this.looked = found.last - (found.before ?? found.first) + 1;
    this.complete = found.before === null;
    this.dispatchEvent(new Event("change"));
  }
}

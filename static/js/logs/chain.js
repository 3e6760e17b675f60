/** The chain's verdict: which lines it covers, how old it is, and whether newer ones have come. */

import { element, find } from "../shared/dom.js";
import { ago, clock, count, counted, lines, moment, size } from "../shared/format.js";
import { tellFailure } from "./replay.js";
import { work } from "./work.js";

/** Verifying by itself may take at most this share of the time. */
const SHARE = 1 / 20;

/** A verdict is green only while it covers every line there is. */
export class Chain {
  /** @type {any} what the last verification found, by whoever asked for it */
  #verified = null;
  #last = 0;
  #rested = 0;
  /** @type {Promise<unknown> | null} */
  #walking = null;

  constructor() {
    this.card = find("#chain");
    this.state = find("#chain-state");
    this.pressed = find("#verify");
    this.pressed.onclick = () => this.verify();
    this.pressed.disabled = false; // what was pressed before would have been lost
  }

  /** Takes in what the server knows now; newer lines are verified without being asked for. */
  async saw(/** @type {any} */ verified, /** @type {number} */ last) {
    if (verified && !(this.#verified?.at > verified.at)) this.#verified = verified;
    this.#last = last;
    this.#tell();
    if (this.#isStale && this.#verified.ok && performance.now() > this.#rested) await this.#walk();
  }

  /** Walks the chain, says how far it is, then what was found. */
  async verify() {
    const bar = find("#chain-progress");
    this.pressed.disabled = true;
    bar.hidden = false;
    bar.removeAttribute("value");
    this.card.dataset.ok = "";
    this.state.textContent = "Verifying…";
    const failure = await this.#walk(({ done, total }) => {
      bar.max = total;
      bar.value = done;
      this.state.textContent = `Verifying: ${size(done)} of ${size(total)}`;
    });
    bar.hidden = true;
    this.pressed.disabled = false;
    if (failure) tellFailure(this.state, failure);
    else this.#tell();
  }

  /** One walk at a time. @returns {Promise<unknown>} why it could not be done; that is no verdict */
  #walk(/** @type {(progress: any) => void} */ progress = () => {}) {
    this.#walking ??= this.#walked(progress).finally(() => (this.#walking = null));
    return this.#walking;
  }

  async #walked(/** @type {(progress: any) => void} */ progress) {
    const began = performance.now();
    try {
      this.#verified = await work("logs/verify", progress);
      this.#last = Math.max(this.#last, this.#verified.last ?? 0);
      this.#tell();
      return null;
    } catch (error) {
      return error;
    } finally {
      this.#rested = performance.now() + (performance.now() - began) / SHARE;
    }
  }

  /** Whether there are lines that the verdict does not know, or fewer than it knew. */
  get #isStale() {
    return Boolean(this.#verified) && this.#verified.last !== this.#last;
  }

  #tell() {
    if (!this.#verified || this.pressed.disabled) return;
    const { ok, at } = this.#verified;
    this.card.dataset.ok = ok && this.#isStale ? "" : String(ok);
    const when = element("time", { datetime: at, title: moment(at) }, ago(Date.parse(at)));
    if (!ok) this.state.replaceChildren(...brokenText(this.#verified), " Checked ", when, ".");
    else if (this.#isStale) this.state.replaceChildren(staleText(this.#verified, this.#last));
    else this.state.replaceChildren(`${wholeText(this.#verified)} Verified `, when, ".");
  }
}

/** The record is named by a link that selects it. @returns {(Node | string)[]} */
function brokenText(/** @type {any} */ { file, line, seq, reason }) {
  const place = `${file}${line ? `, line ${count(line)}` : ""}`;
  const where = seq ? element("a", { href: `#${seq}` }, place) : place;
  return file ? ["Broken in ", where, `: ${reason}.`] : [`Broken: ${reason}.`];
}

function wholeText(/** @type {any} */ { first, last, redacted = [] }) {
  if (!last) return "The log is empty.";
  const covered = first > 1 ? lines(first, last) : `all ${counted(last, "line")}`;
  const note = redacted.length ? ` (${count(redacted.length)} redacted, each by a record)` : "";
  return `Whole: ${covered}, nothing changed, nothing missing${note}.`;
}

function staleText(/** @type {any} */ { at, first, last: covered }, /** @type {number} */ last) {
  const more = last - covered;
  const past = covered ? `${capital(lines(first, covered))} ${covered > first ? "were" : "was"} whole` : "The log was empty";
  if (more < 0) return `${past} at ${clock(at)}; the log is shorter now.`;
  return `${past} at ${clock(at)}; ${counted(more, "newer line")} ${more > 1 ? "are" : "is"} not verified yet.`;
}

function capital(/** @type {string} */ text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

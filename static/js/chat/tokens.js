/** The text of an exchange with each token coloured by its probability. */

import { element, find } from "../shared/dom.js";
import { probability } from "../shared/format.js";
import { GatheredText } from "./gathered.js";

/** Lower bounds of the colours p0 … p5. */
const STEPS = [0, 0.02, 0.1, 0.3, 0.6, 0.9];

/** The arrow keys go from token to token. */
export class TokenText extends GatheredText {
  /** @type {any[]} */
  #logprobs = [];
  /** @type {HTMLElement[]} */
  #tokens = [];
  #current = -1;

  /** @param {HTMLElement} container @param {string} prompt */
  constructor(container, prompt) {
    super();
    this.container = container;
    this.said = element("span", { class: "said" });
    const shown = prompt && element("span", { class: "prompt" }, prompt);
    container.replaceChildren(element("div", { class: "block" }, shown, this.said));
    container.tabIndex = 0;
    container.setAttribute("role", "group");
    container.setAttribute("aria-label", "The answer, token by token; arrow keys show alternatives");
    container.onpointerover = (e) => e.pointerType === "mouse" && this.#point(e);
    container.onpointerleave = (e) => e.pointerType === "mouse" && hideCard();
    container.onclick = (e) => this.#point(e);
    container.onkeydown = (e) => this.#key(e);
    container.onblur = () => hideCard();
  }

  write(/** @type {import("./gathered.js").Piece[]} */ pieces) {
    this.said.append(...pieces.flatMap((piece) => this.#spans(piece)));
  }

  /** One span per token, or one for the piece where characters are spread over tokens. */
  #spans(/** @type {import("./gathered.js").Piece} */ { text, logprobs = [] }) {
    if (!logprobs.length) return [document.createTextNode(text)];
    const parted = logprobs.map((each) => each.token).join("") === text;
    if (parted) return logprobs.map((each) => this.#span(each.token, each));
    return [this.#span(text, { ...logprobs[0], token: text })];
  }

  #span(/** @type {string} */ text, /** @type {any} */ logprob) {
    const share = Math.exp(logprob.logprob);
    const step = STEPS.findLastIndex((bound) => share >= bound);
    const span = element("span", { class: `token p${step}`, "data-token": this.#tokens.length }, text);
    this.#tokens.push(span);
    this.#logprobs.push(logprob);
    return span;
  }

  /** By a mouse that passes, or a tap: a finger leaves as soon as it is lifted. */
  #point(/** @type {PointerEvent | MouseEvent} */ event) {
    const index = /** @type {HTMLElement} */ (event.target).dataset.token;
    if (index === undefined) hideCard();
    else this.#show(Number(index));
  }

  #key(/** @type {KeyboardEvent} */ event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") return hideCard();
    if (!step || !this.#tokens.length) return;
    event.preventDefault();
    this.#show(Math.min(this.#tokens.length - 1, Math.max(0, this.#current + step)));
  }

  #show(/** @type {number} */ index) {
    this.#tokens[this.#current]?.classList.remove("current");
    this.#current = index;
    this.#tokens[index].classList.add("current");
    showCard(this.#tokens[index], this.#logprobs[index]);
  }
}

/** A card beside the token: its probability, and what else could have stood there. */
function showCard(/** @type {HTMLElement} */ token, /** @type {any} */ logprob) {
  const card = find("#token-card");
  const rows = (logprob.top ?? []).map((/** @type {any} */ each) => row(each, each.token === logprob.token));
  card.replaceChildren(row(logprob, true), element("hr"), ...rows);
  card.hidden = false;
  const place = token.getBoundingClientRect();
  const left = Math.min(place.left, innerWidth - card.offsetWidth - 8);
  const below = place.bottom + card.offsetHeight + 12 < innerHeight;
  card.style.setProperty("left", `${Math.max(8, left)}px`);
  card.style.setProperty("top", `${below ? place.bottom + 6 : place.top - card.offsetHeight - 6}px`);
}

function row(/** @type {any} */ { token, logprob }, /** @type {boolean} */ drawn) {
  const bar = element("span", { class: "share" });
  bar.style.setProperty("inline-size", `${100 * Math.exp(logprob)}%`);
  const text = element("bdi", {}, visible(token));
  return element("p", { class: drawn ? "drawn" : false }, bar, text, element("span", {}, probability(logprob)));
}

/** White space made visible. */
function visible(/** @type {string} */ text) {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "·");
}

function hideCard() {
  find("#token-card").hidden = true;
}

/** A tap anywhere else closes the card; where it stands is true only until something scrolls. */
document.addEventListener("pointerdown", (e) => {
  if (!(e.target instanceof HTMLElement && e.target.dataset.token)) hideCard();
});
document.addEventListener("scroll", hideCard, true);


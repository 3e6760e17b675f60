/** How records look: as a row, and in detail. */

import { announce, button, copy, download, element, iconButton } from "../shared/dom.js";
import { labelOf } from "../shared/explain.js";
import { count, counted, duration, moment, speed } from "../shared/format.js";
import { visibleParts } from "./visible.js";

/** Larger texts are cut on display; the download has all of them. */
const MOST_CHARACTERS = 200_000;
const LONG = 600;
/** @type {Record<string, string>} */
const ROLES = { system: "System", user: "User", assistant: "Assistant" };

/** @returns {Node[]} the cells of a row, from a summary */
export function rowCells(/** @type {any} */ row) {
  const tokens = row.completion_tokens;
  const kind = row.replays ? `replay of ${count(row.replays)}` : row.kind ?? row.finish_reason ?? "";
  return [
    element("span", { class: "seq" }, count(row.seq)),
    element("span", { class: "texts" }, ...rowTexts(row)),
    element("span", { class: `reason ${row.finish_reason ?? ""}` }, kind),
    element("span", { class: "tokens" }, tokens === null ? "" : counted(tokens, "token")),
    element("time", { datetime: row.timestamp }, moment(row.timestamp)),
  ];
}

/** @returns {Node[]} what was asked and what was said */
function rowTexts(/** @type {any} */ { prompt, response, turn, redacts }) {
  if (redacts) return [element("bdi", {}, `The text of line ${count(redacts)} was removed.`)];
  const asked = text("bdi", "prompt", prompt);
  if (turn > 1) asked.prepend(element("span", { class: "turn" }, `turn ${count(turn)}`));
  return [asked, text("bdi", "response", response)];
}

/**
 * @param {any} found what `logs/records/{seq}` says: seq, hash, line, record
 * @param {{close: () => void, replay: (place: HTMLElement) => void}} does
 * @returns {Node[]} everything that is in the line
 */
export function detail({ seq, hash, line, record }, does) {
  const place = element("div", { class: "replay", "aria-live": "polite" });
  const { prompt, response, messages, timestamp, ...rest } = record;
  return [
    element("header", { class: "row" },
      element("h2", {}, `Line ${count(seq)}`),
      element("time", { datetime: timestamp }, moment(timestamp)),
      iconButton("close", "Close", does.close)),
    element("div", { class: "row" },
      typeof prompt === "string" && button("Replay", () => does.replay(place), { id: "replay", title: "Makes the text again and compares every byte" }),
      element("a", { id: "prove", class: "button", href: `logs/records/${seq}/proof`, download: "", title: "A file that shows others that this line stands in the log, and nothing of any other" }, "Prove"),
      button("Copy line", () => copy(line).then(() => announce("Copied"))),
      button("Download line", () => download(`${line}\n`, `line-${seq}.json`))),
    place,
    ...texts(record),
    figures(record),
    element("h3", {}, "Every field"),
    fields({ ...rest, ...(messages && { messages }), hash }),
  ];
}

/** A conversation is read as one; the prompt that a template made of it is behind a word. */
function texts(/** @type {any} */ { prompt, response, messages, redacts, redacted }) {
  if (redacts) {
    const link = element("a", { href: `#${redacts}` }, `line ${count(redacts)}`);
    return [element("p", { class: "hint" }, "This line tells that the text of ", link, " was removed.")];
  }
  const absent = redacted ? "Removed; a later line tells of it." : "Not stored.";
  if (!messages) return [section("Prompt", prompt, absent), section("Response", response, absent)];
  const turns = messages.map((/** @type {any} */ { role, content }) => section(ROLES[role] ?? role, content, absent, `said ${role}`));
  const made = element("details", {}, element("summary", {}, "The prompt as the model got it"), section("Prompt", prompt, absent));
  return [...turns, section("Response", response, absent, "said assistant"), made];
}

function section(/** @type {string} */ title, /** @type {string | undefined} */ content, absent = "", kind = "") {
  const body = content === undefined
    ? element("p", { class: "hint" }, absent)
    : text("p", "body", content.slice(0, MOST_CHARACTERS), LONG);
  const cut = (content?.length ?? 0) > MOST_CHARACTERS;
  const note = cut && element("p", { class: "hint" }, `The first ${count(MOST_CHARACTERS)} characters; the download has all.`);
  return element("section", { class: kind || false }, element("h3", {}, title), body, note);
}

function figures(/** @type {any} */ { usage = {}, timings = {}, finish_reason: reason }) {
  const parts = [
    reason,
    usage.prompt_tokens != null && `${counted(usage.prompt_tokens, "token")} in`,
    usage.completion_tokens != null && `${counted(usage.completion_tokens, "token")} out`,
    timings.first_token_ms && `first after ${duration(timings.first_token_ms)}`,
    timings.total_ms && `${duration(timings.total_ms)} in all`,
    timings.tokens_per_second && speed(timings.tokens_per_second),
    timings.schema_ms && `${duration(timings.schema_ms)} for its schema`,
    timings.drafted && `${timings.accepted} of ${count(timings.drafted)} guessed tokens right`,
  ];
  return element("p", { class: "hint" }, parts.filter(Boolean).join(" · "));
}

/** Every value as it stands; objects one level deeper. */
function fields(/** @type {Record<string, any>} */ values) {
  const rows = Object.entries(values).map(([name, value]) =>
    element("div", {}, element("dt", {}, labelOf(name)), element("dd", {}, valueNode(value))));
  return element("dl", { class: "fields" }, ...rows);
}

/** @returns {Node} */
function valueNode(/** @type {any} */ value) {
  if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length) return fields(value);
  const written = typeof value === "string" ? value : JSON.stringify(value);
  return text("span", "value", written.slice(0, MOST_CHARACTERS), LONG);
}

/**
 * Text in which nothing hides.
 * @param {string} name of the element
 * @param {string} kind its class
 * @param {string | null} content
 * @param {number} [long] longer texts scroll, and so must be reachable by the keyboard
 */
function text(name, kind, content, long = Infinity) {
  const parts = visibleParts(content ?? "—").map((part) =>
    part.hidden ? element("span", { class: "hidden-character", title: "a character that cannot be seen" }, part.text) : part.text);
  const scrolls = (content?.length ?? 0) > long;
  return element(name, { class: kind, dir: "auto", tabindex: scrolls && "0" }, ...parts);
}

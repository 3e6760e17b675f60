/** The picture of the log over time: the tokens of each span as bars. SVG. */

import { drawing, element, find } from "../shared/dom.js";
import { count, counted, moment } from "../shared/format.js";

const WIDTH = 640;
const HEIGHT = 72;
const GAP = 0.25;
/** A few bars are not made wider than this part of the picture. */
const WIDEST = 1 / 30;
/** Fewer requests are a riddle as a picture. */
const FEWEST = 10;

/** As they are counted below the picture. */
export const REASONS = ["stop", "length", "cancelled", "disconnected", "interrupted", "error"];

/** @typedef {{start: string, requests: number, tokens: number, reasons: Record<string, number>}} Bucket */

/** @param {{buckets: Bucket[], unreadable: string[]}} history */
export function drawHistory({ buckets, unreadable }) {
  const requests = sum(buckets.map((each) => each.requests));
  const missing = unreadable.length ? ` (not all can be read: ${unreadable.join(", ")})` : "";
  const found = requests
    ? `${counted(requests, "request")}, ${counted(sum(buckets.map((each) => each.tokens)), "token")} since ${moment(buckets[0].start)}`
    : "Nothing has been recorded yet.";
  const caption = found + missing;
  find("#history-caption").textContent = caption;
  const few = requests < FEWEST;
  const told = element("p", { class: "hint" }, `With ${FEWEST} requests or more, their tokens over time are drawn here.`);
  find("#history-chart").replaceChildren(...(few ? [told] : [picture(buckets, caption), axis(buckets), table(buckets)]));
  const endings = REASONS.map((reason) => [reason, sum(buckets.map((each) => each.reasons[reason] ?? 0))]);
  find("#history-legend").replaceChildren(
    ...endings.filter(([, times]) => times).map(([reason, times]) => element("li", { class: reason }, `${reason} ${count(Number(times))}`)),
  );
}

function picture(/** @type {Bucket[]} */ buckets, /** @type {string} */ caption) {
  const most = Math.max(1, ...buckets.map((each) => each.tokens));
  const step = WIDTH * Math.min(WIDEST, 1 / Math.max(1, buckets.length));
  const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": caption, preserveAspectRatio: "none" };
  return drawing("svg", attributes, ...buckets.map((each, i) => bar(each, i * step, step, most)));
}

/** The bar, and a field as high as the picture, so that a low one can be pointed at too. */
function bar(/** @type {Bucket} */ bucket, /** @type {number} */ x, /** @type {number} */ step, /** @type {number} */ most) {
  const height = (HEIGHT * bucket.tokens) / most;
  const endings = REASONS.filter((reason) => bucket.reasons[reason]).map((reason) => `${count(bucket.reasons[reason])} ${reason}`);
  const tip = `${moment(bucket.start)}: ${counted(bucket.tokens, "token")}, ${counted(bucket.requests, "request")}${endings.length ? ` (${endings.join(", ")})` : ""}`;
  const place = { x: x + (step * GAP) / 2, width: step * (1 - GAP) };
  return drawing("g", {}, drawing("title", {}, tip),
    drawing("rect", { class: "field", x, width: step, y: 0, height: HEIGHT }),
    drawing("rect", { class: "stop", ...place, y: HEIGHT - height, height }));
}

/** What the picture's height and width stand for. */
function axis(/** @type {Bucket[]} */ buckets) {
  const most = Math.max(...buckets.map((each) => each.tokens));
  const [first, last] = [buckets[0], buckets[buckets.length - 1]];
  return element("p", { class: "axis hint" },
    element("span", {}, moment(first.start)),
    element("span", {}, `highest: ${counted(most, "token")}`),
    buckets.length > 1 && element("span", {}, moment(last.start)));
}

/** The same for those who do not see the picture. */
function table(/** @type {Bucket[]} */ buckets) {
  const cells = (/** @type {Bucket} */ each) => [moment(each.start), count(each.requests), count(each.tokens)];
  const row = (/** @type {string} */ kind) => (/** @type {string[]} */ texts) =>
    element("tr", {}, ...texts.map((each) => element(kind, {}, each)));
  const filled = buckets.filter((each) => each.requests);
  return element("table", { class: "unseen" }, row("th")(["From", "Requests", "Tokens"]), ...filled.map(cells).map(row("td")));
}

/** @param {number[]} numbers */
function sum(numbers) {
  return numbers.reduce((total, each) => total + each, 0);
}

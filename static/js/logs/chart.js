/** The picture of the log over time: requests by how they ended as bars, tokens as a line. SVG. */

import { drawing, element, find } from "../shared/dom.js";
import { count, counted, moment } from "../shared/format.js";

const WIDTH = 640;
const HEIGHT = 96;
const BASE = HEIGHT - 2;
const GAP = 0.25;
/** A few bars are not made wider than this part of the picture. */
const WIDEST = 1 / 30;

/** From the bottom of a bar to its top. */
export const REASONS = ["stop", "length", "cancelled", "disconnected", "interrupted", "error"];

/** @typedef {{start: string, requests: number, tokens: number, reasons: Record<string, number>}} Bucket */

/** @param {{buckets: Bucket[], unreadable: string[]}} history */
export function drawHistory({ buckets, unreadable }) {
  const requests = buckets.reduce((sum, each) => sum + each.requests, 0);
  const tokens = buckets.reduce((sum, each) => sum + each.tokens, 0);
  const missing = unreadable.length ? ` (not all can be read: ${unreadable.join(", ")})` : "";
  const found = requests
    ? `${counted(requests, "request")}, ${counted(tokens, "token")} since ${moment(buckets[0].start)}`
    : "Nothing has been recorded yet.";
  const caption = found + missing;
  find("#history-caption").textContent = caption;
  find("#history-chart").replaceChildren(picture(buckets, caption), table(buckets));
  const present = REASONS.filter((reason) => buckets.some((each) => each.reasons[reason]));
  find("#history-legend").replaceChildren(
    ...present.map((reason) => element("li", { class: reason }, reason)),
    ...(tokens ? [element("li", { class: "line" }, "tokens")] : []),
  );
}

function picture(/** @type {Bucket[]} */ buckets, /** @type {string} */ caption) {
  const most = Math.max(1, ...buckets.map((each) => each.requests));
  const step = WIDTH * Math.min(WIDEST, 1 / Math.max(1, buckets.length));
  const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": caption, preserveAspectRatio: "none" };
  return drawing("svg", attributes, ...buckets.flatMap((each, i) => bar(each, i * step, step, most)), line(buckets, step));
}

/** One rectangle for each way to end, on top of each other. */
function bar(/** @type {Bucket} */ bucket, /** @type {number} */ x, /** @type {number} */ step, /** @type {number} */ most) {
  let y = BASE;
  return REASONS.filter((reason) => bucket.reasons[reason]).map((reason) => {
    const height = ((BASE - 6) * bucket.reasons[reason]) / most;
    y -= height;
    const tip = `${moment(bucket.start)}: ${count(bucket.reasons[reason])} ${reason}`;
    const place = { x: x + (step * GAP) / 2, y, width: step * (1 - GAP), height };
    return drawing("rect", { class: reason, ...place }, drawing("title", {}, tip));
  });
}

function line(/** @type {Bucket[]} */ buckets, /** @type {number} */ step) {
  const most = Math.max(1, ...buckets.map((each) => each.tokens));
  const points = buckets.map((each, i) => `${(i + 0.5) * step},${BASE - ((BASE - 6) * each.tokens) / most}`);
  return drawing("polyline", { points: points.join(" "), class: "line" });
}

/** The same for those who do not see the picture. */
function table(/** @type {Bucket[]} */ buckets) {
  const cells = (/** @type {Bucket} */ each) => [moment(each.start), count(each.requests), count(each.tokens)];
  const row = (/** @type {string} */ kind) => (/** @type {string[]} */ texts) =>
    element("tr", {}, ...texts.map((each) => element(kind, {}, each)));
  const filled = buckets.filter((each) => each.requests);
  return element("table", { class: "unseen" }, row("th")(["From", "Requests", "Tokens"]), ...filled.map(cells).map(row("td")));
}

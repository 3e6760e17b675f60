/** The log viewer, put together. */

import { getJSON, Refused } from "../shared/api.js";
import { element, find } from "../shared/dom.js";
import { explainProblem } from "../shared/explain.js";
import { count, counted } from "../shared/format.js";
import { markHits } from "../shared/hits.js";
import { Server } from "../shared/server.js";
import { drawHistory } from "./chart.js";
import { Chain } from "./chain.js";
import { List } from "./list.js";
import { detail, rowCells } from "./records.js";
import { replay } from "./replay.js";
import { Matches, WholeLog } from "./source.js";
import { Tree } from "./tree.js";

const TYPING_MS = 250;
const FRESH_MS = 5000;

const form = find("#filters");
const panel = find("#detail");
const chain = new Chain();
const tree = new Tree();
const list = new List(find("#list"), find("#rows"), rowCells);
/** @type {WholeLog | Matches | null} */
let source = null;
let typing = 0;
/** The newest line that the overview knows. */
let known = -1;

function filter() {
  const entries = [...new FormData(form)].filter(([, value]) => value !== "");
  return new URLSearchParams(/** @type {string[][]} */ (entries));
}

async function search() {
  const wanted = filter();
  if (source instanceof Matches) source.close();
  source = wanted.size ? new Matches(wanted) : await wholeLog();
  source.addEventListener("change", tellFound);
  find("#download").href = `logs/download?${wanted}`;
  history.replaceState(null, "", `${location.pathname}${wanted.size ? `?${wanted}` : ""}${location.hash}`);
  panel.hidden ||= wanted.size > 0;
  tellFound();
  list.show(source);
}

async function wholeLog() {
  const { first, last } = await getJSON("logs/records?limit=1");
  return new WholeLog(first, last);
}

function tellFound() {
  if (source instanceof Matches) {
    const found = source.complete ? count(source.count) : `${count(source.count)}+`;
    const more = source.complete ? "" : source.count ? "; scroll for more" : `, ${counted(source.looked, "line")} searched so far`;
    find("#found").textContent = `${found} found${more}`;
  } else find("#found").textContent = counted(source?.count ?? 0, "line");
  const nothing = !source?.count && source?.complete;
  find("#nothing").hidden = !nothing;
  find("#nothing").textContent = source instanceof Matches ? "No line matches. Clear the filters to see all." : "Nothing has been recorded yet. What is asked on the chat page, by curl or in the terminal appears here.";
}

/** New lines are told to the chain, and shown as they come unless somebody searches. */
async function refresh() {
  if (document.hidden) return;
  const { first, last } = await getJSON("logs/records?limit=1");
  if (last !== known) {
    if (source instanceof WholeLog && last !== source.last) {
      const places = last - source.last;
      source.grow(first, last);
      list.moved(places);
      tellFound();
    }
    await overview(last);
  }
  await Promise.all([chain.saw(null, last), tree.saw(last)]);
}

/** The picture of the whole log, and what was last found of its chain. */
async function overview(/** @type {number} */ last) {
  const history = await getJSON("logs/history");
  known = last;
  drawHistory(history);
  await chain.saw(history.verified, last);
}

async function open(/** @type {number} */ seq) {
  history.replaceState(null, "", `#${seq}`);
  try {
    const found = await getJSON(`logs/records/${seq}`);
    const close = () => ((panel.hidden = true), history.replaceState(null, "", location.pathname + location.search), find("#list").focus());
    panel.replaceChildren(...detail(found, { close, replay: (place) => replay(seq, place) }));
  } catch (error) {
    panel.replaceChildren(element("p", { class: "problem", role: "alert" }, explainProblem(problem(error)).detail));
  }
  panel.hidden = false;
  panel.scrollTop = 0;
  markHits("record", panel.querySelectorAll(".body"), filter().get("q") ?? "");
}

/** The line that the address names: receipts link here. */
function openAddressed() {
  const seq = Number(location.hash.slice(1));
  if (!seq) return;
  const index = source?.indexOf(seq) ?? -1;
  if (index < 0) open(seq);
  else list.choose(index, true);
}

function problem(/** @type {unknown} */ error) {
  if (error instanceof Refused) return error.problem;
  throw error;
}

function fail(/** @type {any} */ error) {
  const { title, detail: text } = explainProblem(problem(error));
  const login = problem(error).status === 401 && element("a", { href: "login?next=/logs" }, "Log in");
  find("#found").replaceChildren(`${title} ${text} `, login || "");
}

list.addEventListener("choose", (e) => {
  const seq = source?.seqAt(/** @type {CustomEvent} */ (e).detail);
  if (seq) open(seq);
});
list.addEventListener("drawn", () => markHits("rows", document.querySelectorAll("#rows bdi"), filter().get("q") ?? ""));
form.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => search().catch(fail), TYPING_MS);
});
form.addEventListener("reset", () => setTimeout(() => search().catch(fail)));
form.addEventListener("submit", (/** @type {Event} */ e) => e.preventDefault());
find("#more-filters").onclick = (/** @type {any} */ e) => e.target.setAttribute("aria-expanded", String(form.classList.toggle("open")));
addEventListener("hashchange", openAddressed);
addEventListener("keydown", (e) => {
  if (e.key === "Escape" && !panel.hidden) find("[aria-label=Close]", panel).click();
});

for (const [name, value] of new URLSearchParams(location.search)) if (form.elements.namedItem(name)) form.elements.namedItem(name).value = value;
new Server().poll();
try {
  await search();
  openAddressed();
  await refresh();
  setInterval(() => refresh().catch(() => {}), FRESH_MS);
} catch (error) {
  fail(error);
}

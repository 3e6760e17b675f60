/** The log viewer, put together. */

import { getJSON, Refused } from "../shared/api.js";
import { element, find } from "../shared/dom.js";
import { explainProblem } from "../shared/explain.js";
import { count, counted } from "../shared/format.js";
import { Server } from "../shared/server.js";
import { drawHistory } from "./chart.js";
import { replay, showChain, verifyChain } from "./checks.js";
import { List } from "./list.js";
import { detail, rowCells } from "./records.js";
import { Matches, WholeLog } from "./source.js";

const TYPING_MS = 250;
const FRESH_MS = 5000;

const form = find("#filters");
const panel = find("#detail");
const list = new List(find("#list"), find("#rows"), rowCells);
/** @type {WholeLog | Matches | null} */
let source = null;
let typing = 0;

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
  tellFound();
  list.show(source);
}

async function wholeLog() {
  const { first, last } = await getJSON("logs/records?limit=1");
  return new WholeLog(first, last);
}

function tellFound() {
  if (source instanceof Matches) {
    const more = source.complete ? "" : `, ${counted(source.looked, "line")} searched so far`;
    find("#found").textContent = `${count(source.count)} found${more}`;
  } else find("#found").textContent = counted(source?.count ?? 0, "line");
}

/** New lines are shown as they come, unless somebody reads further down or searches. */
async function refresh() {
  if (document.hidden || !(source instanceof WholeLog) || find("#list").scrollTop > 0) return;
  const { last } = await getJSON("logs/records?limit=1");
  if (last === source.last) return;
  const seq = list.chosen < 0 ? 0 : source.last - list.chosen;
  await search();
  if (source instanceof WholeLog && seq) list.chosen = source.indexOf(seq);
  drawHistory(await getJSON("logs/history"));
}

async function open(/** @type {number} */ seq) {
  history.replaceState(null, "", `#${seq}`);
  try {
    const found = await getJSON(`logs/records/${seq}`);
    const close = () => ((panel.hidden = true), history.replaceState(null, "", location.pathname), find("#list").focus());
    panel.replaceChildren(...detail(found, { close, replay: (place) => replay(seq, place) }));
  } catch (error) {
    panel.replaceChildren(element("p", { class: "problem", role: "alert" }, explainProblem(problem(error)).detail));
  }
  panel.hidden = false;
  panel.scrollTop = 0;
}

/** The line that the address names: receipts link here. */
function openAddressed() {
  const seq = Number(location.hash.slice(1));
  if (!seq) return;
  const index = source?.indexOf(seq) ?? -1;
  if (index < 0) open(seq);
  else list.choose(index);
}

function problem(/** @type {unknown} */ error) {
  if (error instanceof Refused) return error.problem;
  throw error;
}

function fail(/** @type {any} */ error) {
  const { title, detail: text } = explainProblem(problem(error));
  const login = problem(error).status === 401 && element("a", { href: "login?next=/logs" }, "Log in");
  find("#found").replaceChildren(`${title}. ${text} `, login || "");
}

list.addEventListener("choose", (e) => {
  const seq = source?.seqAt(/** @type {CustomEvent} */ (e).detail);
  if (seq) open(seq);
});
form.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => search().catch(fail), TYPING_MS);
});
form.addEventListener("reset", () => setTimeout(() => search().catch(fail)));
form.addEventListener("submit", (/** @type {Event} */ e) => e.preventDefault());
addEventListener("hashchange", openAddressed);
addEventListener("keydown", (e) => {
  if (e.key === "Escape" && !panel.hidden) find("[aria-label=Close]", panel).click();
});

find("#verify").onclick = verifyChain;
new Server().poll();
try {
  await search();
  openAddressed();
  const history = await getJSON("logs/history");
  drawHistory(history);
  showChain(history.verified);
  setInterval(() => refresh().catch(() => {}), FRESH_MS);
} catch (error) {
  fail(error);
}

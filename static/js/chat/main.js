/** The chat page, put together: what is shown where, and which keys do what. */

import { find } from "../shared/dom.js";
import { Panel } from "../shared/panels.js";
import { Server } from "../shared/server.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { Controls } from "./controls.js";
import { showShortcuts } from "./dialogs.js";
import { focusPrompt } from "./focus.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { Transcript } from "./transcript.js";

const NEW = "new";

const server = new Server();
server.poll();
const chat = new Chat(await Store.open(), server, new Controls());
new Transcript(chat);
const composer = new Composer(chat);
const panel = new Panel("conversations");
new Panel("controls");
const sidebar = new Sidebar(chat, panel);

/** The address says which conversation is shown, so that a reload and the back button work. */
async function openAddressed() {
  const id = location.hash.slice(1);
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) {
    history.replaceState(null, "", location.pathname);
    chat.fresh();
    composer.write(asked);
    return focusPrompt();
  }
  if (id && id === chat.conversation.head.id) return;
  if (id === NEW) return chat.fresh(), focusPrompt();
  const [latest] = id ? [{ id }] : await chat.store.list();
  return latest ? chat.open(latest.id) : chat.fresh();
}

function showAddress() {
  const { id, title } = chat.conversation.head;
  history.replaceState(null, "", `#${title ? id : NEW}`);
}

/** What the page is doing comes first: tabs are narrow. */
function showTitle() {
  const run = chat.running;
  const doing = !run ? "" : run.connection === "open" ? "Writing… " : "Waiting… ";
  const name = chat.conversation.head.title;
  document.title = `${doing}${name ? `${name} · ` : ""}MiniVault`;
}

/** @param {KeyboardEvent} event */
function shortcut(event) {
  if (document.querySelector("dialog[open]")) return;
  const modified = event.ctrlKey || event.metaKey;
  if (event.key === "Escape" && chat.running) composer.stop();
  else if (modified && event.key === "/") showShortcuts();
  else if (modified && event.key === "k") panel.toggle(true), find("#search").focus();
  else if (event.altKey && event.code === "KeyN") sidebar.begin();
  else return;
  event.preventDefault();
}

// In the moment in which the address changes: "hashchange" is told later, when an answer that ended in
// between has put the address of the conversation on display over the one that was asked for.
addEventListener("popstate", openAddressed);
addEventListener("keydown", shortcut);
find("#help").onclick = showShortcuts;
for (const name of ["shown", "runs"]) {
  chat.addEventListener(name, showAddress);
  chat.addEventListener(name, showTitle);
}
await openAddressed();

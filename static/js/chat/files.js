/** Text files that are dropped on the page or pasted into the prompt. */

import { announce } from "../shared/dom.js";
import { count, size } from "../shared/format.js";

/** Larger ones are no prompt for any model of today. */
const LARGEST = 2 ** 20;

/**
 * @param {HTMLElement} place where files may be dropped
 * @param {HTMLElement} area where they may be pasted
 * @param {(text: string, name: string) => void} take
 */
export function takeFiles(place, area, take) {
  const holdsFiles = (/** @type {DataTransfer | null} */ data) => [...(data?.types ?? [])].includes("Files");
  const mark = (/** @type {boolean} */ on) => place.classList.toggle("dropping", on);
  place.ondragover = (e) => holdsFiles(e.dataTransfer) && (e.preventDefault(), mark(true));
  place.ondragleave = (e) => place.contains(/** @type {Node | null} */ (e.relatedTarget)) || mark(false);
  place.ondrop = (e) => {
    mark(false);
    if (holdsFiles(e.dataTransfer)) e.preventDefault(), read(e.dataTransfer, take);
  };
  area.onpaste = (e) => {
    if (holdsFiles(e.clipboardData) && !e.clipboardData?.getData("text/plain")) e.preventDefault(), read(e.clipboardData, take);
  };
}

async function read(/** @type {DataTransfer | null} */ data, /** @type {(text: string, name: string) => void} */ take) {
  const told = [];
  for (const file of [...(data?.files ?? [])]) told.push(await readOne(file, take));
  announce(told.join("; ") || "There is no file in it");
}

/** @returns {Promise<string>} what became of it */
async function readOne(/** @type {File} */ file, /** @type {(text: string, name: string) => void} */ take) {
  if (file.size > LARGEST) return `${file.name} is ${size(file.size)}; at most ${size(LARGEST)} fit`;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (text.includes("\0")) throw new TypeError("binary");
    take(text, file.name);
    return `${file.name}: ${count(text.length)} characters`;
  } catch (error) {
    if (error instanceof TypeError) return `${file.name} is no text in UTF-8`;
    return `${file.name} could not be read`;
  }
}

/**
 * A file as it stands in a prompt. A chat model is told its name, and where it ends.
 * @param {string} text @param {string} name @param {boolean} chat
 */
export function quotedFile(text, name, chat) {
  if (!chat) return text;
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return `${name}:\n${fence}\n${text.replace(/\n$/, "")}\n${fence}\n`;
}

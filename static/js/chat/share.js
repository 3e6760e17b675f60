/** An answer as one file that opens anywhere, with its line in the vault and what proves it. Pure. */

const STYLE = `
:root{color-scheme:light dark;background:Canvas;color:CanvasText}body{max-width:44rem;margin:2rem auto;padding:0 1rem;font:1rem/1.6 system-ui,sans-serif}
h1{font-size:1.3rem}h2{font-size:1rem;margin:2rem 0 .5rem}.said{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext}
.user{padding:.5em .9em;border-radius:12px;background:light-dark(#e3efe9,#1f3029)}.role{font-size:.8rem;opacity:.7;margin:1rem 0 .2rem}
.prompt{color:light-dark(#1d6b59,#7fcdb3)}table{border-collapse:collapse;font-size:.87rem}th{text-align:start;font-weight:500;padding-inline-end:1.5em;vertical-align:top}
td{font-family:ui-monospace,monospace;overflow-wrap:anywhere}code{font-family:ui-monospace,monospace;font-size:.9em}`;

/** @type {Record<string, string>} */
const ROLES = { system: "System", user: "User", assistant: "Assistant" };

/**
 * @param {{seq: number, hash: string, line: string, record: any}} found what `logs/records/{seq}` says
 * @param {string | null} proof the bytes of what proves the line, in base64
 * @param {{prompt: string, text: string}} shown on the page; what it takes where the log holds no texts
 * @returns {string} HTML without a script that runs
 */
export function sharedFile({ seq, hash, line, record }, proof, shown) {
  const title = `What ${record.model?.name ?? "a model"} wrote, and its line in the log`;
  const facts = {
    Model: record.model?.name,
    "SHA-256 of the model": record.model?.sha256,
    Time: record.timestamp,
    Seed: record.seed,
    Parameters: JSON.stringify(record.params),
    Ended: record.finish_reason,
    Line: seq,
    "SHA-256 of the line": hash,
  };
  const rows = Object.entries(facts).filter(([, value]) => value !== undefined && value !== null);
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<title>${escaped(title)}</title><style>${STYLE}</style></head><body><main>`,
    `<h1>${escaped(title)}</h1>`,
    ...texts(record, shown),
    "<h2>How it was made</h2>",
    `<table>${rows.map(([name, value]) => `<tr><th scope="row">${name}</th><td>${escaped(String(value))}</td></tr>`).join("")}</table>`,
    "<h2>How to check it</h2>",
    ...checks(proof !== null),
    "</main>",
    data("line", encoded(line), ` data-seq="${seq}" data-hash="${escaped(hash)}"`),
    proof === null ? "" : data("proof", proof),
    "</body></html>\n",
  ].join("\n");
}

/** @returns {string[]} */
function texts(/** @type {any} */ { prompt, response, messages }, /** @type {{prompt: string, text: string}} */ shown) {
  const answer = response ?? shown.text;
  if (!messages) return [`<p class="said"><span class="prompt">${escaped(prompt ?? shown.prompt)}</span>${escaped(answer)}</p>`];
  const turn = (/** @type {string} */ role, /** @type {string} */ text) =>
    `<p class="role">${escaped(ROLES[role] ?? role)}</p><p class="said ${escaped(role)}">${escaped(text)}</p>`;
  const last = messages.at(-1);
  const goesOn = last?.role === "assistant"; // the answer that was continued is one with what came
  const before = goesOn ? messages.slice(0, -1) : messages;
  return [...before.map((/** @type {any} */ { role, content }) => turn(role, content)), turn("assistant", goesOn ? last.content + answer : answer)];
}

/** @returns {string[]} */
function checks(/** @type {boolean} */ proven) {
  const log = "<code>minivault logs check-receipt THIS-FILE</code>, where the log is, says whether it still holds this line, as it was.";
  const alone = "<code>minivault logs check THIS-FILE --public-key KEY</code>, with the key of the log's owner, needs no log and no server: it says what is proven.";
  const note = "What proves it is kept in this file as data; the words above are for reading, and <code>--json</code> prints those that are proven.";
  if (!proven) return [`<p>This file holds the line of the log, and no proof that others can check alone: ${log}</p>`];
  return [`<p>${alone} ${note}</p>`, `<p>${log}</p>`];
}

function data(/** @type {string} */ kind, /** @type {string} */ base64, attributes = "") {
  const lines = base64.replace(/.{100}/g, "$&\n");
  return `<script type="application/vnd.minivault.${kind}" id="minivault-${kind}"${attributes}>${lines}</script>`;
}

/** Bytes of a text in base64. @returns {string} */
export function encoded(/** @type {string | Uint8Array} */ content) {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(binary);
}

/** @returns {string} text that no reader of HTML takes for markup */
function escaped(/** @type {string} */ text) {
  const whole = text.replaceAll("\0", "\ufffd").replaceAll("&", "&amp;").replaceAll("\r", "&#13;");
  return whole.replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

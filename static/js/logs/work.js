/** Long works of the server, that report how far they are. */

import { ask, Refused, UNREACHABLE } from "../shared/api.js";

/**
 * Follows a work that reports line by line (application/x-ndjson).
 * @param {string} path
 * @param {(progress: any) => void} progress called for each line but the last
 * @param {RequestInit} [init]
 * @returns {Promise<any>} the last line
 */
export async function work(path, progress, init) {
  const response = await ask(path, { ...init, headers: { Accept: "application/x-ndjson" } });
  const reader = /** @type {ReadableStream} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      const report = JSON.parse(line);
      if (report.result !== undefined) return report.result;
      if (report.problem) throw new Refused(report.problem);
      progress(report);
    }
  }
  throw new Refused(UNREACHABLE);
}

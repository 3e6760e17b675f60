/** Failures in words that a person can act on. Pure. */

/**
 * @typedef {Object} Explanation
 * @property {string} title
 * @property {string} detail
 * @property {"retry" | "again" | "alone" | "login" | "edit" | ""} action what would help
 */

/** @type {Record<number, [string, Explanation["action"]]>} */
const BY_STATUS = {
  0: ["Start it again with “make run”; this page notices by itself.", "retry"],
  400: ["Open the page under the address that the server prints at its start.", ""],
  401: ["Log in with the key of this server.", "login"],
  403: ["Open the page under the address that the server prints at its start.", ""],
  404: ["The server no longer has it.", "again"],
  413: ["Shorten the prompt.", "edit"],
  422: ["Change what is named and send again.", "edit"],
  500: ["The server's terminal tells more. Trying again is safe.", "retry"],
  503: ["It will be possible again soon.", "retry"],
};

/**
 * @param {string} state how an exchange ended
 * @param {any} end its last event or problem
 * @returns {Explanation | null} null where nothing went wrong
 */
export function explain(state, end = {}) {
  if (state === "refused") return explainProblem(end);
  if (state === "failed") return failed(end.error ?? end);
  if (state === "gone")
    return { title: "This answer can no longer be followed", detail: end.detail ?? end.message ?? GONE, action: "again" };
  if (state === "stopped") return stopped(end.finish_reason);
  return null;
}

const GONE = "The server has been replaced, or the answer is too old. What arrived is kept here.";

/** @param {import("./api.js").Problem} problem @returns {Explanation} */
export function explainProblem(problem) {
  const [advice, action] = BY_STATUS[problem.status] ?? ["", "retry"];
  const fields = (problem.errors ?? []).map((error) => `${labelOf(error.field)}: ${error.message}.`);
  const tooLong = /token/.test(problem.detail) && (problem.errors ?? []).some((e) => e.field === "prompt");
  return {
    title: problem.title,
    detail: [...(fields.length ? fields : [problem.detail]), advice].join(" "),
    action: tooLong ? "alone" : action,
  };
}

/** @returns {Explanation} */
function failed(/** @type {any} */ error) {
  if (error.type === "log")
    return { title: "The log could not be written", detail: "The text below is not in the vault yet. The server keeps it and tries again; look at the disk.", action: "" };
  return { title: "The model failed", detail: error.message ?? "The server's terminal tells more.", action: "retry" };
}

/** @returns {Explanation | null} */
function stopped(/** @type {string} */ reason) {
  if (reason === "disconnected")
    return { title: "Ended while nobody listened", detail: "The connection was lost for too long.", action: "retry" };
  return null;
}

/** @param {string} field @returns {string} a parameter's name as the page shows it */
export function labelOf(field) {
  const words = field.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Failures in words that a person can act on. Pure. */

/**
 * @typedef {Object} Explanation
 * @property {string} title
 * @property {string} detail
 * @property {"retry" | "again" | "full" | "login" | "edit" | ""} action what would help
 * @property {number} [tokens] that the request has, where they are too many
 */

/** @type {Record<number, [string, Explanation["action"]]>} */
const BY_STATUS = {
  0: ["Start it again; this page notices by itself.", "retry"],
  400: ["Open the page under the address that the server prints at its start.", ""],
  401: ["Log in with the key of this server.", "login"],
  403: ["Open the page under the address that the server prints at its start.", ""],
  404: ["", "again"],
  413: ["Shorten the prompt.", "edit"],
  422: ["Change what is named and send again.", "edit"],
  500: ["The server's terminal tells more. Trying again is safe.", "retry"],
  503: ["It will be possible again soon.", "retry"],
};

/**
 * @param {string} state how an exchange ended
 * @param {any} end its last event or problem
 * @param {boolean} [above] whether more than its own prompt was sent
 * @returns {Explanation | null} null where nothing went wrong
 */
export function explain(state, end = {}, above = false) {
  if (state === "refused") return explainProblem(end, above);
  if (state === "failed") return failed(end.error ?? end);
  if (state === "gone")
    return { title: "This answer can no longer be followed.", detail: sentence(end.detail ?? end.message ?? GONE), action: "again" };
  if (state === "stopped") return stopped(end.finish_reason);
  return null;
}

const GONE = "The server has been replaced, or the answer is too old. What arrived is kept here.";

/** @param {import("./api.js").Problem} problem @param {boolean} [above] @returns {Explanation} */
export function explainProblem(problem, above = false) {
  const [advice, action] = BY_STATUS[problem.status] ?? ["", "retry"];
  const fields = (problem.errors ?? []).map((error) => fieldText(error));
  const full = fullness(problem, above);
  if (full) return full;
  return {
    title: sentence(problem.title),
    detail: [...(fields.length ? fields : [sentence(problem.detail)]), advice].filter(Boolean).join(" "),
    action,
  };
}

/** @returns {Explanation | null} */
function failed(/** @type {any} */ error) {
  if (error.written) return null;
  if (error.type === "log")
    return { title: "The log could not be written.", detail: "The text above is not in the vault yet. The server keeps it and tries again; look at the disk.", action: "" };
  return { title: "The model failed.", detail: sentence(error.message ?? "the server's terminal tells more"), action: "retry" };
}

/** @returns {Explanation | null} */
function stopped(/** @type {string} */ reason) {
  if (reason === "disconnected")
    return { title: "Ended while nobody listened.", detail: "The connection was lost for too long.", action: "retry" };
  return null;
}

/** @returns {Explanation | null} where a prompt was refused for its length */
function fullness(/** @type {import("./api.js").Problem} */ { errors = [] }, /** @type {boolean} */ above) {
  const found = errors.map(({ message }) => /^has (\d+) tokens; this model's context is (\d+)/.exec(message)).find(Boolean);
  if (!found) return null;
  const [tokens, context] = [Number(found[1]), Number(found[2])];
  const figures = `${tokens.toLocaleString("en")} of ${context.toLocaleString("en")} tokens.`;
  if (!above) return { title: `This prompt is too long: ${figures}`, detail: "Shorten it.", action: "edit" };
  return { title: `This conversation is full: ${figures}`, detail: "", action: "full", tokens };
}

/** What the server says of a field begins with a verb: "has 204 tokens", "must be a number". */
function fieldText(/** @type {{field: string, message: string}} */ { field, message }) {
  const goesOn = /^(must|has|have|is|are|holds|contains|belongs|goes|cannot|given)\b/.test(message);
  return sentence(goesOn ? `${labelOf(field)} ${message}` : message);
}

/**
 * Why an answer has to wait for the server, in the page's own words.
 * @param {import("./api.js").Problem} problem
 */
export function held({ title, detail }) {
  if (title === "Queue full") return "as many are waiting as may wait; it is tried again by itself";
  if (title === "Loading") return "the model is being loaded";
  if (title === "Shutting down") return "the server is shutting down";
  return detail;
}

/** @param {string} text @returns {string} with a capital and a full stop; numbers as people read them */
export function sentence(text) {
  const written = text.charAt(0).toUpperCase() + text.slice(1);
  const readable = written.replace(/\b\d{4,7}(?= tokens)/g, (digits) => Number(digits).toLocaleString("en"));
  return /[.!?…]$/.test(readable) ? readable : `${readable}.`;
}

/** @param {string} field @returns {string} a parameter's name as the page shows it */
export function labelOf(field) {
  const words = field.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

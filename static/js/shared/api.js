/** The server's JSON routes, and what a refusal says. */

/**
 * @typedef {Object} Problem a refusal as application/problem+json (RFC 9457)
 * @property {string} title
 * @property {number} status 0 when no server answered
 * @property {string} detail
 * @property {{field: string, message: string}[]} [errors]
 * @property {number} [retryAfter] seconds
 */

/** @type {Problem} */
export const UNREACHABLE = {
  title: "No answer from the server",
  status: 0,
  detail: "The server does not answer. It may have been stopped, or the network is down.",
};

/** A request that was refused; `problem` says why. */
export class Refused extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/**
 * @param {Response} response with an error status
 * @returns {Promise<Problem>}
 */
export async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || undefined;
  try {
    return { ...(await response.json()), status: response.status, retryAfter };
  } catch {
    const title = response.statusText || "Error";
    return { title, status: response.status, detail: `The server answered ${response.status}.`, retryAfter };
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} with a good status; throws Refused otherwise
 */
export async function ask(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    throw new Refused(UNREACHABLE);
  }
  if (!response.ok) throw new Refused(await problemOf(response));
  return response;
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function getJSON(path, signal) {
  return (await ask(path, { headers: { Accept: "application/json" }, signal })).json();
}

/** What `health` says, whatever its status; `{status: "unreachable"}` when nothing answers. */
export async function health() {
  try {
    const response = await fetch("health", { headers: { Accept: "application/json" } });
    return response.status === 401 ? { status: "locked" } : await response.json();
  } catch {
    return { status: "unreachable", detail: UNREACHABLE.detail };
  }
}

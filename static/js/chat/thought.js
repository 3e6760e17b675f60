/** What a model thinks before it answers. Pure. */

/**
 * @param {string} text of an answer
 * @returns {{thought: string, answer: number} | null} where the answer begins: -1 while it thinks; null
 *   where nothing was thought. Some templates begin the thought, so that only its end is in the text.
 */
export function thoughtIn(text) {
  const begin = /^\s*<think>\n?/.exec(text);
  const end = begin ? text.indexOf("</think>") : text.search(/(?<=^|\n)<\/think>/);
  if (!begin && end < 0) return null;
  const thought = text.slice(begin ? begin[0].length : 0, end < 0 ? text.length : end).trim();
  if (end < 0) return { thought, answer: -1 };
  const after = /^\s*/.exec(text.slice(end + "</think>".length));
  return { thought, answer: end + "</think>".length + (after?.[0].length ?? 0) };
}

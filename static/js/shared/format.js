/** Numbers and times as people read them. Pure. */

const NUMBER = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

/** @param {number} value */
export function count(value) {
  return NUMBER.format(value);
}

/** @param {number} value @param {string} noun */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** @param {number} perSecond */
export function rate(perSecond) {
  return perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

/** @param {number} tokensPerSecond */
export function speed(tokensPerSecond) {
  return `${rate(tokensPerSecond)} tokens/s`;
}

/** @param {number} bytes */
export function size(bytes) {
  const step = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** step;
  return `${value.toFixed(step && value < 10 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][step]}`;
}

/** @param {string | number} time */
export function moment(time) {
  return TIME.format(new Date(time));
}

/** The time of a day that is today; of an earlier one with its date. @param {string} time @param {number} [now] */
export function clock(time, now = Date.now()) {
  const date = new Date(time);
  return date.toDateString() === new Date(now).toDateString() ? CLOCK.format(date) : TIME.format(date);
}

/** @param {number} first @param {number} last */
export function lines(first, last) {
  return first === last ? `line ${count(first)}` : `lines ${count(first)} to ${count(last)}`;
}

/** The day of a time if that is near, else its month. @param {number} time @param {number} [now] */
export function period(time, now = Date.now()) {
  const date = new Date(time);
  const days = Math.round((new Date(now).setHours(12, 0, 0, 0) - new Date(time).setHours(12, 0, 0, 0)) / 86_400_000);
  if (days < 2) return days < 1 ? "Today" : "Yesterday";
  if (days < 7) return "Last seven days";
  const sameYear = date.getFullYear() === new Date(now).getFullYear();
  return date.toLocaleDateString("en-GB", { month: "long", ...(!sameYear && { year: "numeric" }) });
}

/** @param {number} time milliseconds @param {number} [now] */
export function ago(time, now = Date.now()) {
  const seconds = Math.round((time - now) / 1000);
  for (const [unit, length] of UNITS)
    if (-seconds >= length) return AGO.format(Math.ceil(seconds / length), unit);
  return "just now";
}

/** @param {number} logprob natural logarithm */
export function probability(logprob) {
  const percent = 100 * Math.exp(logprob);
  return percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
}

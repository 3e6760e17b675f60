/** Small things that this browser keeps, where it keeps anything: it may forbid that, or be full. */

/** @typedef {"localStorage" | "sessionStorage"} Place for good, or until the tab is closed */

let refused = false;

/** Whether something could not be kept; "unkept" fires on the window when that happens first. */
export function keepsNothing() {
  return refused;
}

/** @param {string} name @param {Place} [place] @returns {string | null} */
export function recall(name, place = "localStorage") {
  try {
    return window[place].getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value @param {Place} [place] */
export function remember(name, value, place = "localStorage") {
  try {
    window[place].setItem(name, value);
  } catch {
    tellUnkept();
  }
}

/** Says, once, that what is done here is gone when the tab is. */
export function tellUnkept() {
  if (refused) return;
  refused = true;
  dispatchEvent(new Event("unkept"));
}

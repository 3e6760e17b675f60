/** Making and finding elements. Text goes in as text nodes only; no markup is ever parsed. */

/**
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {any} the element; throws where the template lacks it
 */
export function find(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * @param {string} name of the element
 * @param {Record<string, any>} [attributes] functions become listeners, false and undefined are left out
 * @param {...(Node | string | false | null | undefined)} children
 * @returns {any}
 */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. @returns {any} */
export function drawing(/** @type {string} */ name, attributes = {}, /** @type {any[]} */ ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/** @returns {any} a button with a word on it */
export function button(/** @type {string} */ label, /** @type {() => void} */ press, attributes = {}) {
  return element("button", { type: "button", onclick: press, ...attributes }, label);
}

/** An icon of the sprite in the page; decoration only. */
export function icon(/** @type {string} */ name) {
  const use = drawing("use", { href: `#icon-${name}` });
  return drawing("svg", { class: "icon", "aria-hidden": "true" }, use);
}

/** @returns {any} a button that shows an icon, its word for screen readers and as a tip */
export function iconButton(/** @type {string} */ name, /** @type {string} */ label, /** @type {() => void} */ press) {
  const attributes = { type: "button", class: "quiet square", title: label, "aria-label": label, onclick: press };
  return element("button", attributes, icon(name));
}

function filled(/** @type {Element} */ node, /** @type {Record<string, any>} */ attributes, /** @type {any[]} */ children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== false && child !== null && child !== undefined));
  return node;
}

/** Whether a key belongs to an input method; Safari says so by 229 alone when Enter ends a composition. */
export function composing(/** @type {KeyboardEvent} */ event) {
  return event.isComposing || event.keyCode === 229;
}

/** @param {string} text @param {string} name @param {string} [type] */
export function download(text, name, type = "application/json") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Copies text, also where the page is not served over a secure address. */
export async function copy(/** @type {string} */ text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = element("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/**
 * Says something to screen readers, and shows it for a moment.
 * @param {string} text
 * @param {boolean} [visible] false for what can be seen anyway
 * @param {[string, () => void]} [action] what can be done about it for some seconds more
 */
export function announce(text, visible = true, action) {
  const region = find("#announcement");
  const clear = () => region.replaceChildren();
  const does = action && button(action[0], () => (clear(), action[1]()), { class: "quiet" });
  region.classList.toggle("unseen", !visible);
  region.replaceChildren(text, does ?? "");
  clearTimeout(announcing);
  announcing = setTimeout(clear, action ? 12_000 : 4000);
}

let announcing = 0;

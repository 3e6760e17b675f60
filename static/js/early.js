/** What the first paint needs, so a classic script: the theme and the side panels, as they were left. */

(() => {
  /** The first press shows something: what the system is not comes after it. */
  const ORDER = matchMedia("(prefers-color-scheme: dark)").matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  const NAMES = { auto: "as the system", light: "light", dark: "dark" };
  const UNSEEN_MS = 250;
  const root = document.documentElement;

  function stored(/** @type {string} */ name, /** @type {string} */ usual) {
    try {
      return localStorage.getItem(name) ?? usual;
    } catch {
      return usual;
    }
  }

  function label(/** @type {Element} */ button) {
    const text = `Theme: ${NAMES[/** @type {"auto"} */ (root.dataset.theme)]}`;
    button.setAttribute("aria-label", text);
    button.setAttribute("title", text);
  }

  root.dataset.theme = stored("minivault.theme", "auto");
  const wide = matchMedia("(min-width: 1021px)").matches;
  for (const [panel, usual] of [["conversations", "true"], ["controls", "false"]])
    root.dataset[panel] = wide && stored(`minivault.panel.${panel}`, usual) === "true" ? "open" : "closed";

  /** What makes a page work comes once it is seen; one in the background never is. */
  const { then } = /** @type {HTMLScriptElement} */ (document.currentScript).dataset;
  if (then) {
    const begin = () => import(new URL(then, document.baseURI).href);
    new PerformanceObserver(begin).observe({ type: "paint", buffered: true });
    document.addEventListener("DOMContentLoaded", () => setTimeout(begin, UNSEEN_MS));
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    label(button);
    button.addEventListener("click", () => {
      const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "auto") + 1) % ORDER.length];
      root.dataset.theme = next;
      try {
        localStorage.setItem("minivault.theme", next);
      } catch {
        // this browser keeps nothing; the theme holds for this page
      }
      label(button);
    });
  });
})();

/** The theme and the side panels, as they were left; set before the first paint, so a classic script. */

(() => {
  /** The first press shows something: what the system is not comes after it. */
  const ORDER = matchMedia("(prefers-color-scheme: dark)").matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
  const NAMES = { auto: "as the system", light: "light", dark: "dark" };
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

/** The theme, set before the first paint; a classic script for that reason. */

(() => {
  const ORDER = ["auto", "light", "dark"];
  const NAMES = { auto: "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem("minivault.theme") ?? "auto";
    } catch {
      return "auto";
    }
  }

  function label(/** @type {Element} */ button) {
    const text = `Theme: ${NAMES[/** @type {"auto"} */ (root.dataset.theme)]}`;
    button.setAttribute("aria-label", text);
    button.setAttribute("title", text);
  }

  root.dataset.theme = stored();
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

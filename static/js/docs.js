/** The API page: Swagger UI, from our own files, with our own description. */

import { find } from "./shared/dom.js";
import { Server } from "./shared/server.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

/** Swagger UI has a class for dark colours; ours follow the theme button or the system. */
function follow() {
  const theme = root.dataset.theme;
  root.classList.toggle("dark-mode", theme === "dark" || (theme !== "light" && dark.matches));
}

follow();
dark.addEventListener("change", follow);
new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });

/** What Swagger UI does not say to those who do not see it, or reach by the keyboard. */
function complete() {
  /** @type {[string, string, string][]} */
  const missing = [
    ["#servers", "aria-label", "Server"],
    ["textarea.body-param__text", "aria-label", "Body of the request"],
    ["pre.microlight", "tabindex", "0"],
    [".information-container", "role", "region"],
    [".information-container", "aria-label", "About this API"],
    [".schemes-server-container", "role", "region"],
    [".schemes-server-container", "aria-label", "Server and keys"],
  ];
  for (const [selector, name, value] of missing)
    for (const each of main.querySelectorAll(selector)) if (each.getAttribute(name) !== value) each.setAttribute(name, value);
}

const main = find("#main");
new MutationObserver(complete).observe(main, { childList: true, subtree: true });

// @ts-expect-error: a global of the vendored bundle
const SwaggerUI = window.SwaggerUIBundle;
SwaggerUI({
  url: "openapi.json",
  domNode: main,
  presets: [SwaggerUI.presets.apis],
  validatorUrl: null, // the default asks a server on the internet
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});

new Server().poll();

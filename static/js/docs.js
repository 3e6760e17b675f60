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

// @ts-expect-error: a global of the vendored bundle
const SwaggerUI = window.SwaggerUIBundle;
SwaggerUI({
  url: "openapi.json",
  domNode: find("#main"),
  presets: [SwaggerUI.presets.apis],
  validatorUrl: null, // the default asks a server on the internet
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});

new Server().poll();

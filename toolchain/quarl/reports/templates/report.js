"use strict";
// The only control of the page: as the system has it, light, or dark. Without this script the page follows the system.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const name = document.getElementById("theme-name");
  const themes = ["system", "light", "dark"];
  const words = { system: "as the system", light: "light", dark: "dark" };
  const show = (theme) => {
    if (theme === "system") {
      root.removeAttribute("data-theme");
    } else {
      root.setAttribute("data-theme", theme);
    }
    name.textContent = words[theme];
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const now = root.getAttribute("data-theme") || "system";
    show(themes[(themes.indexOf(now) + 1) % themes.length]);
  });
})();

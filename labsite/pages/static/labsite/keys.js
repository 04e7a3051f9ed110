// The keyboard on every page: / finds, ? shows the keys, j and k go from one alarm or instrument to the next,
// a acknowledges the alarm that has the focus.
const find = document.getElementById("find");
const keys = document.getElementById("keys");

const links = () => [...document.querySelectorAll("[data-alarm] h3 a, [data-instrument]:not([hidden]) h3 a")];

function step(by) {
  const all = links();
  if (!all.length) return;
  const item = document.activeElement.closest("[data-alarm], [data-instrument]");
  const here = all.findIndex((link) => link.closest("[data-alarm], [data-instrument]") === item);
  const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by));
  all[next].focus();
  all[next].closest("[data-alarm], [data-instrument]").scrollIntoView({ block: "nearest" });
}

function leave(target) {
  if (target !== find) return;
  find.value = "";
  find.dispatchEvent(new Event("input"));
  find.blur();
}

function acknowledge() {
  const alarm = document.activeElement.closest("[data-alarm]") ?? document.querySelector("[data-lone]");
  alarm?.querySelector("[data-acknowledge]")?.click();
}

// Closes the form that is open, with the focus back on its button.
function close() {
  const form = document.querySelector("details.aside[open]");
  if (!form) return;
  form.open = false;
  form.querySelector("summary").focus();
}

const actions = {
  "/": () => { find.focus(); find.select(); },
  "?": () => keys.showModal(),
  j: () => step(1),
  k: () => step(-1),
  a: acknowledge,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    document.querySelector("details.person")?.removeAttribute("open");
    leave(event.target);
    close();
    return;
  }
  if (keys.open || event.target.closest("input, textarea, select")) return;
  const action = actions[event.key];
  if (!action || (event.repeat && action === acknowledge)) return;
  event.preventDefault();
  action();
});

for (const button of document.querySelectorAll("[data-open-keys]")) button.addEventListener("click", () => keys.showModal());

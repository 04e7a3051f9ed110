// The keyboard on every page: / finds, ? shows the keys, j and k go from one instrument to the next.
const find = document.getElementById("find");
const keys = document.getElementById("keys");

const links = () => [...document.querySelectorAll("[data-instrument]:not([hidden]) h3 a")];

function step(by) {
  const all = links();
  if (!all.length) return;
  const here = all.indexOf(document.activeElement);
  const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by));
  all[next].focus();
  all[next].closest("[data-instrument]").scrollIntoView({ block: "nearest" });
}

function leave(target) {
  if (target !== find) return;
  find.value = "";
  find.dispatchEvent(new Event("input"));
  find.blur();
}

const actions = {
  "/": () => { find.focus(); find.select(); },
  "?": () => keys.showModal(),
  j: () => step(1),
  k: () => step(-1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    document.querySelector("details.person")?.removeAttribute("open");
    leave(event.target);
    return;
  }
  if (keys.open || event.target.closest("input, textarea, select")) return;
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const button of document.querySelectorAll("[data-open-keys]")) button.addEventListener("click", () => keys.showModal());

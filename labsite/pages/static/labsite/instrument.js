// One instrument: its values live, and the chart of the channels chosen.
import { alarms } from "./alarm_list.js";
import { Cards } from "./cards.js";
import { Chart } from "./chart.js";
import { follow } from "./stream.js";
import { word } from "./words.js";

const MOST = 4; // traces that can be told apart

const cards = new Cards();
const buttons = [...document.querySelectorAll("[data-choose]")];
const note = document.querySelector("[data-chart-note]");
const channels = new Map(
  buttons.map(({ dataset: { choose, label, unit, digits } }) => [
    Number(choose),
    { label, unit, digits: digits === "" ? null : Number(digits) },
  ]),
);
const chart = new Chart(document.getElementById("chart"), note, channels, cards.all[0].interval);

let chosen = location.hash.slice(1).split(",").map(Number).filter((id) => channels.has(id)).slice(0, MOST);
if (!chosen.length) chosen = [...channels.keys()].slice(0, 1);

function show() {
  for (const button of buttons) {
    const place = chosen.indexOf(Number(button.dataset.choose));
    button.setAttribute("aria-pressed", String(place >= 0));
    button.dataset.trace = String(place);
  }
  return chart.choose([...chosen]);
}

function toggle(id) {
  const without = chosen.filter((other) => other !== id);
  if (without.length === chosen.length && chosen.length === MOST) {
    note.textContent = word("most");
    return;
  }
  chosen = without.length === chosen.length ? [...chosen, id] : without;
  history.replaceState(null, "", `#${chosen.join(",")}`);
  show();
}

for (const button of buttons) button.addEventListener("click", () => toggle(Number(button.dataset.choose)));

// Whoever comes back by an address with channels in it sees their buttons.
for (const button of buttons) {
  const others = button.closest("details");
  if (others && chosen.includes(Number(button.dataset.choose))) others.open = true;
}

// Runs, events and vectors come as the server draws them, as often as one can look.
const BESIDE_EVERY = 5000;
const beside = document.querySelector("[data-beside]");
let drawn = beside.innerHTML;

async function look() {
  if (document.hidden) return;
  try {
    const reply = await fetch(beside.dataset.beside);
    if (!reply.ok) return;
    const text = await reply.text();
    if (text !== drawn && !beside.contains(document.activeElement)) beside.innerHTML = drawn = text;
  } catch {
    // the server is away; the stream says so
  }
}

setInterval(look, BESIDE_EVERY);

let isFirst = true;
function readings(content) {
  cards.take(content);
  alarms.readings(content);
  chart.take(content.latest);
  // A snapshot after an interruption: what happened meanwhile is in the store, not in the stream.
  if (content.isSnapshot && !isFirst) chart.load();
  isFirst = false;
}

function tick() {
  cards.tick();
  alarms.tick();
}

setInterval(tick, 1000);
follow(`/live/?instrument=${cards.all[0].id}`, {
  readings,
  alarms: (content) => alarms.told(content),
  changed: () => { document.getElementById("changed").hidden = false; },
});
show();

// The overview: live cards, the counts above them, and the search while it is typed.
import { alarms } from "./alarm_list.js";
import { Cards } from "./cards.js";
import { follow } from "./stream.js";

const SETTLED = 5; // seconds that a card must have changed its section before the page offers to sort again

const cards = new Cards();
const hint = document.getElementById("changed");
const sentence = hint.querySelector("[data-changed-word]");
const edited = sentence.textContent;
let moved = 0;
let isEdited = false;

function count(name, number) {
  const element = document.querySelector(`[data-count="${name}"]`);
  if (element) element.textContent = String(number);
}

function tick() {
  cards.tick();
  alarms.tick();
  const instruments = cards.all.filter((card) => !card.isEdge);
  count("speaking", instruments.filter((card) => card.speaks).length);
  count("edges", cards.all.filter((card) => card.isEdge && card.speaks).length);
  count("look", cards.all.filter((card) => card.state.look).length);
  moved = cards.all.some((card) => card.state.look !== card.lookedAtFirst) ? moved + 1 : 0;
  sentence.textContent = isEdited ? edited : hint.dataset.moved;
  hint.hidden = !isEdited && moved < SETTLED;
}

function changed() {
  isEdited = true;
  tick();
}

const find = document.getElementById("find");
find.addEventListener("input", () => {
  const wanted = find.value.trim().toLowerCase();
  for (const card of cards.all) card.element.hidden = !card.element.dataset.find.toLowerCase().includes(wanted);
  for (const section of document.querySelectorAll("[data-section]")) {
    section.hidden = !section.querySelector("[data-instrument]:not([hidden])");
  }
});

setInterval(tick, 1000);

function readings(content) {
  cards.take(content);
  alarms.readings(content);
}

follow("/live/", { readings, changed, alarms: (content) => alarms.told(content) });

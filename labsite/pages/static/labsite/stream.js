// The live stream: connects, connects again, keeps the server's clock and says on the page how it stands.
import { duration } from "./numbers.js";
import { word } from "./words.js";

const SILENT_AFTER = 35000; // ms; the server gives a sign of life each 15 s
const PAUSE_MAX = 15000;

// How far the server's clock is before this one, in ms; first from the page itself, then from each event.
let ahead = Number(document.body.dataset.clock) - Date.now() || 0;

// The server's clock, in ms of UTC; goes on when the server is gone.
export const now = () => Date.now() + ahead;

// Handlers take the content of an event; `readings` also that of a snapshot, which comes first.
export function follow(url, { readings, changed = () => {}, alarms = () => {} }) {
  let source = null;
  let heard = Date.now();
  let opened = 0;
  let pause = 1000;
  let timer = 0;
  let over = false;

  function open() {
    clearTimeout(timer);
    if (source || over || document.hidden) return;
    source = new EventSource(url);
    opened = Date.now();
    on("snapshot", (content) => readings({ ...content, isSnapshot: true }));
    on("readings", readings);
    on("changed", changed);
    on("alarms", (content) => {
      tally(content);
      alarms(content);
    });
    on("beat", () => {});
    source.addEventListener("signed-out", end);
    source.addEventListener("error", failed);
  }

  function on(kind, handle) {
    source.addEventListener(kind, (event) => {
      const content = JSON.parse(event.data);
      ahead = content.now - Date.now();
      heard = Date.now();
      pause = 1000;
      show("live", word("Live"));
      handle(content);
    });
  }

  function close() {
    source?.close();
    source = null;
  }

  function failed() {
    if (source?.readyState !== EventSource.CLOSED) {
      lost();
      return;
    }
    close();
    lost();
    timer = setTimeout(again, pause);
    pause = Math.min(2 * pause, PAUSE_MAX);
  }

  // The stream was refused: that is for good only when the session is over.
  async function again() {
    try {
      const reply = await fetch(url);
      reply.body?.cancel();
      if (reply.status === 401) return end();
    } catch {
      // the server is away; the next attempt will tell
    }
    return open();
  }

  function end() {
    over = true;
    close();
    show("lost", word("Signed out"));
  }

  function lost() {
    show("lost", word("Lost").replace("%(duration)s", duration(Math.round((Date.now() - heard) / 1000))));
  }

  function watch() {
    if (over || document.hidden) return;
    if (source && Date.now() - Math.max(heard, opened) > SILENT_AFTER) {
      close();
      lost();
      open();
    }
    if (mark?.dataset.live === "lost") lost();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  setInterval(watch, 1000);
  open();
}

const mark = document.getElementById("live");

function show(state, text) {
  if (!mark) return;
  const words = mark.querySelector("[data-live-word]");
  if (mark.dataset.live !== state) mark.dataset.live = state;
  if (words.textContent !== text) words.textContent = text;
}

const SHAPES = ["■", "▲", "◆", "●"];

// The number in the bar: how many alarms nobody has acknowledged, in the shape of the highest priority.
function tally({ counts, unacknowledged }) {
  const mark = document.querySelector("[data-tally]");
  const highest = counts.findIndex((count) => count > 0);
  mark.hidden = highest < 0;
  mark.dataset.priority = String(highest + 1);
  mark.querySelector("[data-tally-shape]").textContent = SHAPES[highest] ?? "";
  mark.querySelector("[data-tally-count]").textContent = String(unacknowledged);
}

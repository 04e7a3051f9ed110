// A list of alarms: fetched anew when alarms change, but it never moves under the reader's pointer or focus.
import { Row } from "./cards.js";
import { age } from "./numbers.js";
import { now } from "./stream.js";
import { word } from "./words.js";

const PAUSE = 1000; // ms between two looks: a flood of changes is one change to the reader
const SHARE = 4; // and as many times as long as the last look took: a list of many is dear to the server
const MOVING = 2000; // ms since the pointer moved in which nothing on the page gives way to a new alarm
const READ = 8000; // ms that a success is told

const bound = (text) => (text === "" ? null : Number(text));
const id = (alarm) => alarm.dataset.alarm;
const says = document.querySelector("[data-says]");

let moved = 0;
document.addEventListener("pointermove", () => { moved = Date.now(); }, { passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") says.replaceChildren(); });

// What became of something a person did; a refusal stays until it is read.
function say(text, isRefused) {
  const line = document.createElement("p");
  line.className = isRefused ? "error" : "success";
  line.textContent = text;
  says.classList.add("over");
  says.replaceChildren(line);
  if (!isRefused) setTimeout(() => line.remove(), READ);
}

class AlarmList {
  constructor(place) {
    this.place = place;
    this.hint = document.querySelector("[data-alarms-hint]");
    this.waiting = null; // the newer list, while the reader is in the shown one
    this.timer = 0;
    this.looks = Promise.resolve();
    this.next = 0; // no look before this time
    this.heard = new Map(); // when each instrument answered last
    this.take(place.firstElementChild);
    this.hint.querySelector("button").addEventListener("click", () => this.swap(this.waiting));
    place.addEventListener("submit", (event) => this.submit(event));
    place.addEventListener("toggle", (event) => this.opened(event.target), true);
  }

  take(list) {
    this.list = list;
    this.revision = Number(list.dataset.revision);
    this.alarms = [...list.querySelectorAll("[data-alarm]")];
    this.rows = [...list.querySelectorAll("[data-channel]")].map((element) => ({
      row: new Row(element),
      channel: Number(element.dataset.channel),
      instrument: element.dataset.from,
      limit: Number(element.dataset.limit),
      heard: bound(element.dataset.heard),
    }));
  }

  // The pointer or the focus is in it, a form is open, or the pointer is on its way somewhere.
  get isHeld() {
    const focused = this.place.contains(document.activeElement);
    const pointed = matchMedia("(hover: hover)").matches && this.place.matches(":hover");
    const open = this.place.querySelector("details.aside[open]") !== null;
    return focused || pointed || open || Date.now() - moved < MOVING;
  }

  told({ revision }) {
    const shown = this.waiting ? Number(this.waiting.dataset.revision) : this.revision;
    if (revision !== shown) this.lookSoon();
  }

  lookSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), Math.max(0, this.next - Date.now()));
  }

  // One after the other, so that the newest comes last. `next` finds what is to have the focus afterwards; it
  // comes with what the reader did, so nothing waits.
  look(next = null) {
    this.looks = this.looks.then(() => this.renew(next));
    return this.looks;
  }

  async renew(next) {
    const begun = Date.now();
    try {
      const reply = await fetch(this.place.dataset.alarms);
      if (reply.status === 401 && next) location.reload(); // the session is over
      if (!reply.ok) return;
      const box = document.createElement("template");
      box.innerHTML = await reply.text();
      const list = box.content.querySelector("[data-list]");
      if (next || !this.isHeld) this.swap(list, next);
      else this.wait(list);
    } catch {
      // the server is away; the stream says so
    }
    this.next = Date.now() + Math.max(PAUSE, SHARE * (Date.now() - begun));
  }

  wait(list) {
    if (Number(list.dataset.revision) === this.revision) return this.drop();
    this.waiting = list;
    const known = new Set(this.alarms.filter((alarm) => "standing" in alarm.dataset).map(id));
    const fresh = [...list.querySelectorAll("[data-standing]")].filter((alarm) => !known.has(id(alarm))).length;
    const words = word(fresh === 1 ? "one new alarm" : "many new alarms").replace("%(count)d", fresh);
    this.hint.querySelector("span").textContent = fresh ? words : word("alarms changed");
    this.hint.hidden = false;
    return undefined;
  }

  release() {
    if (this.waiting && !this.isHeld) this.swap(this.waiting);
  }

  drop() {
    this.waiting = null;
    this.hint.hidden = true;
  }

  swap(list, next = null) {
    const open = [...this.list.querySelectorAll("details[data-keep][open]")].map((each) => [id(each.closest("[data-alarm]")), each.dataset.keep]);
    const focused = this.place.contains(document.activeElement) ? document.activeElement.closest("[data-alarm]") : null;
    const find = next ?? (focused && this.near(focused));
    this.drop();
    this.place.replaceChildren(list);
    this.take(list);
    for (const [alarm, keep] of open) {
      list.querySelector(`[data-alarm="${alarm}"] [data-keep="${keep}"]`)?.setAttribute("open", "");
    }
    find?.(this.alarms)?.querySelector("h3 a, [data-acknowledge], summary")?.focus();
    this.tick();
  }

  // Finds an alarm again, or the one that took its place.
  near(alarm) {
    const place = this.alarms.indexOf(alarm);
    return (alarms) => alarms.find((each) => id(each) === id(alarm)) ?? alarms[Math.min(place, alarms.length - 1)];
  }

  // Of the alarm that one is done with: the next that stands in its place.
  after(alarm) {
    const place = this.alarms.indexOf(alarm);
    const rest = [...this.alarms.slice(place + 1), ...this.alarms.slice(0, place).reverse(), alarm].map(id);
    return (alarms) => rest.map((wanted) => alarms.find((each) => id(each) === wanted)).find(Boolean);
  }

  async submit(event) {
    const form = event.target.closest("form[data-act]");
    if (!form) return;
    event.preventDefault();
    const alarm = form.closest("[data-alarm]");
    // The keyboard goes on to the next one; a mouse leaves no focus behind, which would hold the list.
    const next = document.activeElement.matches(":focus-visible") ? this.after(alarm) : () => null;
    const button = event.submitter ?? form.querySelector("button");
    button.disabled = true;
    try {
      const asked = { method: "POST", body: new FormData(form), headers: { Accept: "application/json" }, redirect: "manual" };
      const reply = await fetch(form.action, asked);
      if (reply.ok || reply.status === 409) say((await reply.json()).said, !reply.ok);
      else say(word("not done"), true);
      await this.look(next);
    } catch {
      say(word("not done"), true);
    }
    button.disabled = false;
  }

  // One form at a time, and the keyboard is in it.
  opened(details) {
    if (!details.open || !details.matches(".aside")) return;
    for (const other of this.place.querySelectorAll("details.aside[open]")) if (other !== details) other.open = false;
    details.querySelector("[name=reason]").focus();
  }

  readings({ latest, standings }) {
    const fresh = new Map(latest.map(([channel, ...reading]) => [channel, reading]));
    for (const [instrument, [, , , seen]] of Object.entries(standings)) this.heard.set(instrument, seen);
    for (const { row, channel } of this.rows) if (fresh.has(channel)) row.take(...fresh.get(channel));
    this.tick();
  }

  tick() {
    const at = now();
    for (const { row, instrument, limit, heard } of this.rows) row.tick(at, limit, Math.max(heard ?? 0, this.heard.get(instrument) ?? 0));
    for (const time of this.list.querySelectorAll("[data-age]")) {
      const text = age(Number(time.dataset.age), at);
      if (time.textContent !== text) time.textContent = text;
    }
    this.release();
  }
}

const place = document.querySelector("[data-alarms]");
export const alarms = place && new AlarmList(place);

// Instruments on the page: what the server drew is taken over and kept up to date.
import { NOTHING, age, shown } from "./numbers.js";
import { isBad, isOutside, isWorded, staleAfter, state } from "./standing.js";
import { now } from "./stream.js";
import { word } from "./words.js";

const bound = (text) => (text === "" ? null : Number(text));

function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export class Row {
  constructor(element) {
    this.element = element;
    const { kind, digits, low, high, read, bad } = element.dataset;
    Object.assign(this, { kind, digits: bound(digits), low: bound(low), high: bound(high) });
    Object.assign(this, { read: bound(read), bad: bad === "1" });
    this.value = element.querySelector("[data-value]");
    this.why = element.querySelector("[data-why]");
    this.ownAge = element.querySelector("[data-own-age]");
    this.mark = element.querySelector("[data-mark]");
  }

  // A bad value is the last one there was, with its own time; its text is the reason, unless that is the value.
  take(time, value, quality, text, seen) {
    const bad = isBad(quality);
    const told = bad && !isWorded(this.kind) ? text : null;
    const words = shown(value, told === null ? text : null, this.kind, this.digits);
    const missing = bad ? word(words === NOTHING ? "no reading" : "not valid") : word("no value");
    const reason = told || (bad || (value === null && !text) ? missing : "");
    this.bad = bad;
    this.read = bad ? time : seen;
    put(this.value, words);
    put(this.why, reason);
    this.element.classList.toggle("none", reason !== "");
    this.element.classList.toggle("outside", !bad && isOutside(value, this.low, this.high));
    if (this.mark && value !== null) {
      const share = 25 + (50 * (value - this.low)) / (this.high - this.low);
      this.mark.setAttribute("x", `${Math.min(98.5, Math.max(1.5, share)).toFixed(1)}%`);
      this.mark.removeAttribute("hidden");
    }
  }

  // What an instrument that answers did not tell anew is as it was.
  isStale(at, limit, heard) {
    return this.read !== null && (this.bad || at - Math.max(this.read, heard ?? 0) > limit);
  }

  tick(at, limit, heard) {
    this.element.classList.toggle("stale", this.isStale(at, limit, heard));
    put(this.ownAge, this.read === null || this.value.textContent === NOTHING ? "" : age(this.read, at));
  }
}

export class Card {
  constructor(element) {
    this.element = element;
    this.id = element.dataset.instrument;
    this.interval = Number(element.dataset.interval);
    this.made = Number(element.dataset.made);
    this.inService = element.dataset.inService === "1";
    this.isEdge = element.dataset.edge === "1";
    const [read, bad, outside, seen, reason] = JSON.parse(element.dataset.standing);
    this.standing = { read, bad, outside, seen, reason };
    this.rows = new Map();
    for (const row of element.querySelectorAll("[data-channel]")) this.rows.set(Number(row.dataset.channel), new Row(row));
    this.badge = element.querySelector(".state");
    this.age = element.querySelector("[data-age]");
    this.reason = element.querySelector("[data-reason]");
    this.run = element.querySelector("[data-run]");
    this.state = { key: this.badge.dataset.state, look: element.classList.contains("look") };
    this.lookedAtFirst = this.state.look;
  }

  stand([read, bad, outside, seen, reason]) {
    this.standing = { read, bad, outside, seen, reason };
  }

  // The run that is under way, or null.
  course(run) {
    if (!this.run) return;
    this.run.hidden = !run;
    if (!run) return;
    const [words, percent] = run;
    const line = this.run.querySelector("[data-run-words]");
    put(line, words);
    line.title = words;
    const bar = this.run.querySelector("progress");
    bar.hidden = percent === null;
    bar.value = percent ?? 0;
  }

  // By the page's own clock, so that a value grows old also when nothing arrives.
  tick(at) {
    const limit = 1000 * staleAfter(this.interval);
    this.state = state(this.standing, this, at);
    put(this.badge, this.state.word);
    if (this.badge.dataset.state !== this.state.key) this.badge.dataset.state = this.state.key;
    this.element.classList.toggle("look", this.state.look);
    put(this.reason, this.state.key === "gone" ? this.standing.reason : "");
    put(this.age, this.standing.seen === null ? word("never") : age(this.standing.seen, at));
    for (const row of this.rows.values()) row.tick(at, limit, this.standing.seen);
    const read = [...this.rows.values()].filter((row) => row.read !== null);
    this.element.classList.toggle("stale", this.inService && read.length > 0 && read.every((row) => row.isStale(at, limit, this.standing.seen)));
  }

  get speaks() {
    return ["normal", "partly", "outside"].includes(this.state.key);
  }
}

// All instruments on the page, and where their channels are shown.
export class Cards {
  constructor(root = document) {
    this.all = [...root.querySelectorAll("[data-instrument]")].map((element) => new Card(element));
    this.byId = new Map(this.all.map((card) => [card.id, card]));
    this.byChannel = new Map(this.all.flatMap((card) => [...card.rows].map(([channel, row]) => [channel, row])));
  }

  take({ latest, standings, runs }) {
    for (const [channel, time, value, quality, text, seen] of latest) {
      this.byChannel.get(channel)?.take(time, value, quality, text, seen);
    }
    for (const [instrument, standing] of Object.entries(standings)) this.byId.get(instrument)?.stand(standing);
    for (const [instrument, run] of Object.entries(runs)) this.byId.get(instrument)?.course(run);
    this.tick();
  }

  tick() {
    const at = now();
    for (const card of this.all) card.tick(at);
  }
}

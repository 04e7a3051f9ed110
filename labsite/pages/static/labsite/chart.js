// The chart of the last hour: series from the server, live readings at its end, gaps shaded.
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { number, roughly } from "./numbers.js";
import { isBad, staleAfter } from "./standing.js";
import { now } from "./stream.js";
import { word } from "./words.js";

const MINUTES = 60;
const HEIGHT = 340;
const REFRESH = 60000; // ms; heals what the live stream left out between two of its events
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]]; // told apart in grey, too
const COLOURS = ["--trace", "--trace-2", "--trace-3", "--trace-4"];
const RIGHT = 1;
const BOTTOM = 2;
const LEFT = 3;

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  constructor(place, note, channels, interval) {
    Object.assign(this, { place, note, channels, interval, apart: 0, tables: new Map(), gaps: [], plot: null, chosen: [] });
    new ResizeObserver(() => this.plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build());
    setInterval(() => this.draw(), 1000);
    setInterval(() => this.load(), REFRESH);
  }

  choose(ids) {
    this.chosen = ids;
    this.build();
    return this.load();
  }

  async load() {
    if (!this.chosen.length) return;
    const asked = this.chosen.join(",");
    try {
      const reply = await fetch(`${this.place.dataset.chart}?channels=${asked}&minutes=${MINUTES}`);
      if (!reply.ok) throw new Error(String(reply.status));
      const found = await reply.json();
      if (asked !== this.chosen.join(",")) return;
      this.gaps = found.gaps;
      this.apart = found.apart;
      this.tables = new Map(found.channels.map(({ id, times, values }) => [id, { times, values }]));
      this.note.textContent = "";
    } catch {
      this.note.textContent = word("chart failed");
    }
    this.draw();
  }

  // Live readings, as they stand in an event: [channel, time, value, quality, text, seen].
  take(latest) {
    for (const [channel, time, value, quality] of latest) {
      const table = this.tables.get(channel);
      const last = table?.times.at(-1) ?? 0;
      if (table && time > last) {
        table.times.push(time);
        table.values.push(value);
      } else if (table && isBad(quality) && typeof table.values.at(-1) === "number") {
        table.times.push(last + 1); // the last value is over; the line must not go on from it
        table.values.push(null);
      }
    }
  }

  series() {
    const from = now() - MINUTES * 60000;
    const each = this.chosen.map((id) => {
      const table = this.tables.get(id) ?? { times: [], values: [] };
      const first = table.times.findIndex((time) => time >= from);
      if (first > 0) {
        table.times.splice(0, first);
        table.values.splice(0, first);
      }
      return this.broken(id, table);
    });
    return each.some(([times]) => times.length) ? uPlot.join(each) : [[], ...each.map(() => [])];
  }

  // The table with an empty point wherever nothing was measured, so that no line is drawn over it: in the gaps
  // that were told, and where three readings in a row are missing.
  broken(id, { times, values }) {
    const holes = this.gaps.filter((gap) => gap.channel === null || gap.channel === id).map((gap) => gap.start + 1);
    const most = 1000 * staleAfter(this.interval) + this.apart;
    for (let at = 1; at < times.length; at += 1) {
      if (times[at] - times[at - 1] > most) holes.push(times[at - 1] + 1);
    }
    const points = times.map((time, index) => [time, values[index]]);
    for (const hole of holes) points.push([hole, null]);
    points.sort((one, other) => one[0] - other[0]);
    return [points.map(([time]) => time / 1000), points.map(([, value]) => value)];
  }

  draw() {
    if (!this.plot) return;
    this.plot.setData(this.series());
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    this.place.replaceChildren();
    if (!this.chosen.length) return;
    this.plot = new uPlot(this.options(), this.series(), this.place);
  }

  options() {
    const chosen = this.chosen.map((id) => this.channels.get(id));
    const units = [...new Set(chosen.map((channel) => channel.unit))];
    const scales = { x: { time: true, range: () => [now() / 1000 - MINUTES * 60, now() / 1000] } };
    for (const unit of units) scales[`y ${unit}`] = { range: padded };
    const axis = { stroke: token("--quiet"), font: "12px Inter, system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: token("--line"), width: 1 };
    const wide = this.place.clientWidth >= 500;
    return {
      width: this.place.clientWidth,
      height: HEIGHT,
      scales,
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      legend: { live: true },
      hooks: { drawClear: [(plot) => this.shade(plot)] },
      axes: [
        { ...axis, side: BOTTOM, grid: { show: false }, values: clock },
        ...units.slice(0, 2).map((unit, index) => ({
          ...axis,
          scale: `y ${unit}`,
          side: index ? RIGHT : LEFT,
          label: wide && unit ? unit : undefined,
          labelSize: 20,
          labelFont: axis.font,
          size: wide ? 64 : 52,
          grid: index ? { show: false } : grid,
          values: (_plot, splits, _axis, _space, step) => splits.map((value) => number(value, decimals(step))),
        })),
      ],
      series: [
        { value: (_plot, time) => (time === null ? "–" : new Date(time * 1000).toLocaleTimeString()) },
        ...chosen.map((channel, index) => ({
          label: channel.label,
          scale: `y ${channel.unit}`,
          stroke: token(COLOURS[index]),
          dash: DASHES[index],
          width: 1.6,
          points: { filter: lone },
          value: (_plot, value) => `${number(value ?? null, channel.digits)} ${channel.unit}`,
        })),
      ],
    };
  }

  // Shade what is missing and say how long it was.
  shade(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${12 * devicePixelRatio}px Inter, system-ui, sans-serif`;
    ctx.textAlign = "center";
    for (const { start, end } of this.gapsShown()) {
      const left = plot.valToPos(start / 1000, "x", true);
      const right = Math.max(plot.valToPos(end / 1000, "x", true), left + 2);
      ctx.fillStyle = token("--gap");
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      const text = word("no data").replace("%(duration)s", roughly((end - start) / 1000));
      if (ctx.measureText(text).width + 8 > right - left) continue;
      ctx.fillStyle = token("--quiet");
      ctx.fillText(text, (left + right) / 2, bbox.top + 16 * devicePixelRatio);
    }
    ctx.restore();
  }

  // Gaps of the channels in the chart, as far as they lie in the hour; those that touch are one.
  gapsShown() {
    const from = now() - MINUTES * 60000;
    const mine = this.gaps
      .filter((gap) => gap.end > from && (gap.channel === null || this.chosen.includes(gap.channel)))
      .map((gap) => ({ start: Math.max(gap.start, from), end: gap.end }))
      .sort((one, other) => one.start - other.start);
    const joined = [];
    for (const gap of mine) {
      const last = joined.at(-1);
      if (last && gap.start <= last.end + 1000) last.end = Math.max(last.end, gap.end);
      else joined.push(gap);
    }
    return joined;
  }
}

function clock(_plot, splits) {
  return splits.map((time) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }));
}

// The readings that have none beside them, and so no line: drawn as points where the others are not.
export function lone(plot, index, show) {
  if (show) return null;
  const values = plot.data[index];
  const measured = values.map((_value, at) => at).filter((at) => values[at] !== undefined);
  const found = measured.filter((at, place) => {
    const beside = [measured[place - 1], measured[place + 1]];
    return values[at] !== null && beside.every((other) => other === undefined || values[other] === null);
  });
  return found.length ? found : null;
}

// As many as tell the lines of a grid apart without rounding: 1 for a step of 2.5, 2 for one of 0.25.
export function decimals(step) {
  let count = 0;
  while (count < 9 && Math.abs(step * 10 ** count - Math.round(step * 10 ** count)) > 1e-6) count += 1;
  return count;
}

// Room above and below; a steady value is a line in the middle, not noise blown up to the full height.
function padded(_plot, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max((high - low) * 0.15, Math.abs(high) * 1e-4, 1e-9);
  return [low - room, high + room];
}

// Numbers and times as people read them; labsite/pages/numbers.py says the same on the server.
import { word } from "./words.js";

export const NOTHING = "–";
const SIGNIFICANT = 6;

export function number(value, digits = null) {
  if (value === null || !Number.isFinite(value)) return NOTHING;
  let text = digits !== null && Math.abs(value) < 1e15 ? value.toFixed(digits) : significant(value);
  if (!/[1-9]/.test(text)) text = text.replace("-", "");
  const [mantissa, power] = text.split("e");
  return (grouped(mantissa) + (power === undefined ? "" : `e${power}`)).replaceAll("-", "−");
}

function significant(value) {
  const size = Math.abs(value);
  if (size && (size < 1e-4 || size >= 1e9)) {
    const [mantissa, power] = value.toExponential(SIGNIFICANT - 1).split("e");
    return `${trimmed(mantissa)}e${Number(power)}`;
  }
  const whole = size >= 1 ? String(Math.trunc(size)).length : 0;
  return trimmed(value.toFixed(Math.max(0, SIGNIFICANT - whole)));
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

function grouped(text) {
  const [whole, rest] = text.split(".");
  const apart = whole.replace(/(?<=\d)(?=(\d{3})+$)/g, "\u202f");
  return rest === undefined ? apart : `${apart}.${rest}`;
}

export function shown(value, text, kind, digits) {
  if (kind === "text" || (value === null && text)) return text || NOTHING;
  if (value === null) return NOTHING;
  if (kind === "bool") return word(value ? "yes" : "no");
  return number(value, kind === "int" ? 0 : digits);
}

const padded = (count) => String(count).padStart(2, "0");

export function duration(seconds) {
  seconds = Math.max(0, seconds);
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds + 0.5);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${padded(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${padded(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// As a gap in a chart is told: to the minute once it is longer than one.
export function roughly(seconds) {
  if (seconds < 60) return duration(Math.round(seconds)).replace(".0", "");
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : duration(seconds);
}

// As in “4 min 12 s ago”; past an hour the date and time, in UTC as the server says it.
export function age(then, now) {
  const seconds = (now - then) / 1000;
  if (seconds < 3600) return word("ago").replace("%(duration)s", duration(seconds));
  return `${new Date(then).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

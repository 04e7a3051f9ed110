// How an instrument stands; labsite/pages/standing.py judges the same way on the server.
import { word } from "./words.js";

const STALE_INTERVALS = 2.5;
const STALE_LEAST = 4; // seconds
const NEW_FOR = 30000; // ms
const BAD = 2;

// Kinds of channels whose reading is told by its text, not by a number.
export const isWorded = (kind) => kind === "text" || kind === "vector";

export const isBad = (quality) => (quality & 3) === BAD;

export const isOutside = (value, low, high) =>
  value !== null && ((low !== null && value < low) || (high !== null && value > high));

export const staleAfter = (interval) => Math.max(STALE_INTERVALS * interval, STALE_LEAST);

// standing: { read, bad, outside, seen, reason }, times in ms; the instrument: its card; the answer: { word, key, look }.
export function state(standing, { inService, interval, made }, now) {
  if (!inService) return { word: word("Out of service"), key: "out", look: false };
  if (standing.seen === null) return { word: word("No reading yet"), key: "new", look: now - made > NEW_FOR + 1000 * interval };
  if (standing.bad && standing.bad === standing.read) return { word: word("Not connected"), key: "gone", look: true };
  if (now - standing.seen > 1000 * staleAfter(interval)) return { word: word("Silent"), key: "silent", look: true };
  if (standing.outside) return { word: word("Outside normal"), key: "outside", look: true };
  if (standing.bad) {
    const words = word(standing.bad === 1 ? "one missing" : "many missing");
    return { word: words.replace("%(count)d", standing.bad), key: "partly", look: false };
  }
  return { word: word("Normal"), key: "normal", look: false };
}

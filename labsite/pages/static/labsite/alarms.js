// The page of standing alarms, and that of one of them.
import { alarms } from "./alarm_list.js";
import { follow } from "./stream.js";

const instrument = document.querySelector("[data-instrument-live]")?.dataset.instrumentLive;

setInterval(() => alarms.tick(), 1000);
follow(instrument ? `/live/?instrument=${instrument}` : "/live/?only=alarms", {
  readings: (content) => alarms.readings(content),
  alarms: (content) => alarms.told(content),
});

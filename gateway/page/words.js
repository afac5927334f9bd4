// What the gateway tells, in words and figures for people. Nothing here makes elements.

const STEPS = {
  extract: "Extract frames",
  preannotate: "Analyse with the global model",
  bring: "Check and register the model",
  labeling: "Request labels",
  train: "Train the model",
  export: "Export to ONNX",
  parity: "Prove the export equal",
  csv: "CSV",
  json: "JSON",
  overlay: "Overlaid video",
};

const capital = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

export const stepName = (name) => (Object.hasOwn(STEPS, name) ? STEPS[name] : capital(name));
export const eventName = (name) => capital(name.toLowerCase().replace("labeling", "labelling"));
export const count = (number) => number.toLocaleString("en", { maximumFractionDigits: 1 });
export const percent = (number) => `${number.toFixed(number % 1 ? 1 : 0)} %`;

export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${number.toFixed(unit && number < 99.95 ? 1 : 0)} ${units[unit]}`;
}

/** How far a step is, in its own unit; empty where it counts nothing. */
export function amount({ done, total, unit }) {
  if (!unit || !(done || total)) return "";
  const said = unit === "bytes" ? bytes : count;
  const counted = total && total !== done ? `${said(done)} of ${said(total)}` : said(done);
  return unit === "bytes" ? counted : `${counted} ${unit}`;
}

/** How many frames people have labelled and skipped; what is skipped counts as done. */
export function labelled({ done, total, facts }) {
  const skipped = facts.skipped ?? 0;
  const aside = skipped ? `, ${count(skipped)} skipped` : "";
  return `${count(done - skipped)} of ${count(total)} frames are labelled${aside}`;
}

export function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (seconds < 99.5) {
    return seconds < 1 ? "< 1 s" : `${Math.round(seconds)} s`;
  }
  if (hours < 2) {
    return `${minutes} min`;
  }
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

/** A moment as people here write it; with its day unless that is today. */
export function moment(text) {
  const then = new Date(text);
  const today = then.toDateString() === new Date().toDateString();
  return then.toLocaleString([], { dateStyle: today ? undefined : "medium", timeStyle: "medium" });
}

/** The plain facts of an event, at most a few; what is nested is left to REST. */
export function facts({ step, ...others }) {
  const parts = step ? [stepName(String(step))] : [];
  for (const [name, value] of Object.entries(others)) {
    if (typeof value === "number") {
      parts.push(name === "bytes" ? bytes(value) : `${name.replaceAll("_", " ")}: ${count(value)}`);
    } else if (typeof value === "string" && value) {
      parts.push(value.length > 300 ? `${value.slice(0, 300)}…` : value);
    }
  }
  return parts.slice(0, 7).join(" · ");
}

// Elements, and how numbers are written. Nothing here knows what is shown.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes, listeners (`onclick`) and children; null children are left out.
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat().filter((one) => one !== null && one !== undefined));
}

// Text is set only where it is another: what has not changed is not painted, or read out, again.
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function number(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  if (value < 1e-3) return `${digits(value * 1e6)} µs`;
  if (value < 1) return `${digits(value * 1e3)} ms`;
  if (value < 120) return `${digits(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${digits(value / 3600)} h` : `${Math.round(value / 86400)} d`;
}

function digits(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function percent(value, places = 0) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(places)} %`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (value >= 1000 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${place ? digits(value) : value} ${units[place]}`;
}

export function clock(time) {
  return new Date(1000 * time).toLocaleTimeString("en-GB");
}

// What a state looks like: a shape as well as a colour, and always its word beside it.
const TONES = {
  idle: "good", busy: "good", ok: "good", alive: "good", leader: "good", voter: "good", result: "good",
  completed: "good", closed: "good", running: "active", working: "active", starting: "wait",
  paused: "wait", degraded: "wait", draining: "wait", suspect: "wait", "half open": "wait",
  learner: "wait", "forced closed": "wait", failed: "bad", dead: "bad", error: "bad", expired: "bad",
  open: "bad", "forced open": "bad", denied: "bad", refused: "bad", stopped: "off", left: "off",
  cancelled: "off",
};

export function tone(state) {
  return TONES[state] ?? "off";
}

const SHAPES = {
  good: () => s("circle", { cx: 6, cy: 6, r: 4 }),
  active: () => s("path", { d: "M6 1.5a4.5 4.5 0 1 0 4.5 4.5H6z" }),
  wait: () => s("path", { d: "M6 1.5 11 10.5H1z" }),
  bad: () => s("rect", { x: 2, y: 2, width: 8, height: 8 }),
  off: () => s("circle", { cx: 6, cy: 6, r: 3.5, class: "hollow" }),
};

export function badge(state, text = state) {
  const kind = tone(state);
  return h(
    "span",
    { class: `badge ${kind}` },
    s("svg", { viewBox: "0 0 12 12", class: "mark", "aria-hidden": "true" }, SHAPES[kind]()),
    h("span", {}, text),
  );
}

// A table with heads; `columns` are [title, class]. Rows are given as lists of cells.
export function table(caption, columns, rows, attributes = {}) {
  const heads = columns.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title));
  return h(
    "table",
    attributes,
    h("caption", { class: "quiet" }, caption),
    h("thead", {}, h("tr", {}, ...heads)),
    h("tbody", {}, ...rows.map((cells) => row(columns, cells))),
  );
}

export function row(columns, cells, attributes = {}) {
  const made = cells.map((cell, place) =>
    h(place ? "td" : "th", { scope: place ? null : "row", class: columns[place][1] ?? null }, cell),
  );
  return h("tr", attributes, ...made);
}

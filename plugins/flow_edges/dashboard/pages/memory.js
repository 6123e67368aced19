// Memory as a map: what is alike lies together. The same as a table, for keyboards and screen readers.

import { clock, h, number, percent, replace, row, s, say } from "./dom.js";
import { ask } from "./live.js";

const SIZE = 520;
const EDGE = 24;
const COLUMNS = [["Key"], ["Text"], ["Put", "n"]];

export function memoryView() {
  let points = [];
  const spaces = h("select", { id: "space", onchange: () => load() });
  const text = h("input", { type: "search", id: "near", autocomplete: "off", placeholder: "where would this text be?" });
  const said = h("p", { class: "quiet", role: "status" });
  const dots = s("g", {});
  const mark = s("g", {});
  const map = s(
    "svg",
    { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "map", role: "img", "aria-label": "patterns as points: what is alike lies together", onpointermove: point, onpointerleave: () => pick(null) },
    dots,
    mark,
  );
  const picked = h("p", { class: "picked" }, "Point at a dot, or look at the table.");
  const body = h("tbody");
  const list = h(
    "table",
    { class: "wide" },
    h("caption", {}, "The latest"),
    h("thead", {}, h("tr", {}, ...COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title)))),
    body,
  );
  const form = h("form", { class: "tools" }, h("label", { for: "space" }, "Namespace"), spaces, h("label", { for: "near" }, "Text"), text, h("button", {}, "Show"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    load();
  });
  const element = h(
    "div",
    {},
    h("h1", {}, "Memory"),
    form,
    said,
    h("div", { class: "columns" }, h("section", { class: "card" }, map, picked), h("section", { class: "card" }, h("div", { class: "scroll" }, list))),
  );
  load();

  async function load() {
    const namespace = spaces.value || "shared";
    try {
      const found = await ask("/api/memory/map", { namespace, text: text.value.trim() });
      const names = Object.keys(found.namespaces);
      if (!names.includes(namespace)) names.unshift(namespace);
      replace(spaces, ...names.map((one) => h("option", { value: one, selected: one === namespace }, `${one} (${number(found.namespaces[one] ?? 0)})`)));
      draw(found);
    } catch (error) {
      say(said, error.message);
    }
  }

  function draw(found) {
    const all = [...found.points, ...(found.asked ? [{ x: found.asked[0], y: found.asked[1] }] : [])];
    const reach = Math.max(1e-6, ...all.flatMap(({ x, y }) => [Math.abs(x), Math.abs(y)]));
    const at = ({ x, y }) => [SIZE / 2 + ((SIZE / 2 - EDGE) * x) / reach, SIZE / 2 - ((SIZE / 2 - EDGE) * y) / reach];
    points = found.points.map((one) => ({ ...one, at: at(one) }));
    replace(dots, ...points.map((one) => s("circle", { cx: one.at[0].toFixed(1), cy: one.at[1].toFixed(1), r: 4, "data-key": one.key })));
    const asked = found.asked ? at({ x: found.asked[0], y: found.asked[1] }) : null;
    replace(mark, asked ? s("path", { class: "asked", d: `M${asked[0] - 9} ${asked[1]}h18M${asked[0]} ${asked[1] - 9}v18` }) : null);
    const foreign = found.foreign ? `; ${number(found.foreign)} of another embedder are left out` : "";
    say(said, `${number(found.points.length)} of ${number(found.count)} patterns, the latest; the plane shows ${percent(found.shares[0] + found.shares[1])} of what tells them apart${foreign}`);
    const rows = points.slice(0, 100).map((one) => row(COLUMNS, [one.key, one.text || "–", clock(one.time)]));
    replace(body, ...(rows.length ? rows : [h("tr", {}, h("td", { colspan: 3, class: "quiet" }, "Nothing is remembered here yet."))]));
    pick(null);
  }

  function point(event) {
    const box = map.getBoundingClientRect();
    const [x, y] = [((event.clientX - box.left) * SIZE) / box.width, ((event.clientY - box.top) * SIZE) / box.height];
    let best = null;
    let nearest = 18 ** 2;
    for (const one of points) {
      const away = (one.at[0] - x) ** 2 + (one.at[1] - y) ** 2;
      if (away < nearest) [best, nearest] = [one, away];
    }
    pick(best);
  }

  function pick(one) {
    for (const dot of dots.querySelectorAll(".picked")) dot.classList.remove("picked");
    if (!one) return;
    dots.children[points.indexOf(one)]?.classList.add("picked");
    replace(picked, h("strong", {}, one.key), ` ${one.text}`);
  }
  return { element, update: () => {} };
}

// The node at one look: figures, the swarm, what is not well, and what happened.

import { badge, clock, h, number, percent, replace, s, say, seconds } from "./dom.js";
import { may, store } from "./store.js";
import { quarantineCard } from "./quarantine.js";
import { swarmCard } from "./swarm.js";

const FIGURES = [
  ["rate", "Requests per second", () => store.rates.at(-1)?.rate.toFixed(1) ?? "–"],
  ["running", "Running", () => number(store.node.requests?.running)],
  ["p50", "Median", () => seconds(store.node.requests?.durations.p50)],
  ["p99", "99th percentile", () => seconds(store.node.requests?.durations.p99)],
  ["errors", "Errors", () => number(errors(store.node.requests))],
  ["well", "Agents up", () => agentsUp()],
];

function errors(requests) {
  return requests ? requests.errors + requests.expired : undefined;
}

function agentsUp() {
  const here = [...store.agents.values()].filter((one) => one.here);
  const up = here.filter((one) => ["idle", "busy"].includes(one.state)).length;
  return `${number(up)} of ${number(here.length)}`;
}

export function overviewView() {
  const figures = new Map();
  const list = FIGURES.map(([key, title]) => {
    const value = h("dd", { "data-figure": key }, "–");
    figures.set(key, value);
    return h("div", {}, h("dt", {}, title), value);
  });
  const line = s("path", { class: "trend" });
  const area = s("path", { class: "under" });
  const trend = s(
    "svg",
    { viewBox: "0 0 240 36", preserveAspectRatio: "none", class: "spark", role: "img", "aria-label": "requests per second, the last two minutes" },
    area,
    line,
  );
  const swarm = swarmCard();
  const quarantine = quarantineCard();
  const unwell = h("div", { class: "card", id: "unwell" });
  const happened = h("ol", { class: "happened" });
  const element = h(
    "div",
    {},
    h("h1", {}, "Overview"),
    h("section", { "aria-label": "Figures" }, h("dl", { class: "figures" }, ...list), trend),
    h(
      "div",
      { class: "columns" },
      swarm.element,
      h(
        "div",
        {},
        unwell,
        quarantine.element,
        may("events")
          ? h("section", { class: "card", "aria-labelledby": "happened" }, h("h2", { id: "happened" }, "What happened"), happened)
          : null,
      ),
    ),
  );

  function paint(names) {
    for (const [key, , value] of FIGURES) say(figures.get(key), value());
    draw(line, area);
    if (!names || names.has("node")) {
      swarm.update();
      quarantine.update();
      replace(unwell, ...troubles());
    }
    if (!names || names.has("happened")) replace(happened, ...lines());
  }
  return { element, update: paint };
}

function draw(line, area) {
  const rates = store.rates.map((one) => one.rate);
  if (rates.length < 2) return;
  const top = Math.max(1, ...rates);
  const points = rates.map((rate, place) => {
    const x = 240 - 2 * (rates.length - 1 - place);
    return `${x.toFixed(1)} ${(34 - (30 * rate) / top).toFixed(1)}`;
  });
  line.setAttribute("d", `M${points.join("L")}`);
  area.setAttribute("d", `M${points.join("L")}L240 36L${(240 - 2 * (rates.length - 1)).toFixed(1)} 36Z`);
}

function troubles() {
  const components = store.node.components;
  if (!components) return [h("h2", {}, "Health"), h("p", { class: "quiet" }, "Looking …")];
  const rows = components.unwell.map((one) =>
    h("li", {}, badge(one.status), " ", h("strong", {}, one.component), " ", h("span", { class: "quiet" }, one.reason)),
  );
  const head = rows.length ? `${rows.length} of ${components.count} components are not well` : `All ${components.count} components are well`;
  return [
    h("h2", {}, "Health"),
    h("p", {}, badge(rows.length ? "degraded" : "ok", head)),
    rows.length ? h("ul", { class: "plainlist" }, ...rows.slice(0, 12)) : null,
    store.node.ready === false ? h("p", { class: "trouble" }, "The node takes no new work.") : null,
    ...stateLine(),
  ];
}

function stateLine() {
  const state = store.node.state;
  if (!state) return [];
  const trouble = state.trouble ? h("p", { class: "trouble" }, state.trouble) : null;
  const words = `${many(state.patterns, "pattern")} remembered, ${many(state.feedback, "lesson")}`;
  const router = store.node.router;
  const unknown = router ? router.routes.known + router.routes.unknown : 0;
  const share = unknown ? `; ${percent(router.routes.known / unknown)} of ${number(unknown)} requests in words were known` : "";
  return [trouble, h("p", { class: "quiet" }, words + share)];
}

function many(count, what) {
  return `${number(count)} ${what}${count === 1 ? "" : "s"}`;
}

function lines() {
  if (!store.happened.length) return [h("li", { class: "quiet" }, "Nothing since this node began to watch.")];
  return store.happened.slice(0, 14).map((one) =>
    h(
      "li",
      {},
      h("time", { class: "quiet" }, clock(one.time)),
      h(
        "span",
        {},
        h("strong", {}, one.about || one.kind),
        one.node ? h("span", { class: "quiet" }, ` at ${one.node}`) : null,
        " ",
        badge(word(one)),
        one.reason ? h("span", { class: "quiet reason" }, one.reason) : null,
      ),
    ),
  );
}

function word(one) {
  return one.kind === "link" ? one.new.replace("link.", "link ") : one.new;
}

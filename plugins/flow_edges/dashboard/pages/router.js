// A text, and what the router makes of it: experts with scores, the nearest patterns, and why.

import { h, number, percent, replace, row, say } from "./dom.js";
import { call } from "./live.js";
import { can, store } from "./store.js";

const EXPERTS = [["Expert"], ["Probability", "n"], ["Share", "bars"], ["Why"], ["Load", "n"], ["Feedback"]];
const NEAREST = [["Text"], ["Expert"], ["Similarity", "n"], ["Weight", "n"]];

export function routerView() {
  const text = h("input", { type: "text", id: "text", required: true, maxlength: 2000, autocomplete: "off", placeholder: "what time is it in Tokyo" });
  const many = h("input", { type: "number", id: "many", min: 1, max: 16, value: 8 });
  const said = h("p", { role: "status" });
  const answer = h("div");
  const form = h(
    "form",
    { class: "tools" },
    h("label", { for: "text" }, "A request in words"),
    text,
    h("label", { for: "many" }, "Experts"),
    many,
    h("button", { class: "main" }, "Route"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    route();
  });
  const about = h("p", { class: "quiet" });
  const element = h("div", {}, h("h1", {}, "Router"), about, form, said, answer);

  async function route() {
    say(said, "Asking …");
    try {
      const found = await call("flow.route", { text: text.value, k: Number(many.value) });
      say(said, verdict(found));
      said.className = found.known ? "verdict" : "verdict unsure";
      replace(answer, experts(found, said), nearest(found));
    } catch (error) {
      say(said, error.message);
      replace(answer);
    }
  }

  function update(names) {
    if (names && !names.has("node")) return;
    const router = store.node.router;
    if (router) say(about, `${number(router.experts)} experts, ${number(router.feedback.explicit + router.feedback.implicit)} lessons heard here. Texts become vectors by ${router.embedder.identity}.`);
    if (!can("route")) say(said, "You may not ask this router.");
  }
  return { element, update };
}

function verdict(found) {
  const sure = `sure to ${percent(found.sure)}, needed is ${percent(found.threshold)}`;
  return found.known ? `Known: ${sure}.` : `Not known: ${sure}. The nearest are listed all the same.`;
}

function experts(found, said) {
  const rows = found.experts.map((one) => {
    const bar = h("span", { class: "span" });
    bar.style.width = `${Math.max(0.5, 100 * one.probability)}%`;
    const reasons = Object.entries(one.reasons).filter(([, value]) => Math.abs(value) >= 0.005).map(([name, value]) => h("span", { class: "reason" }, `${name} ${value.toFixed(2)}`));
    const judge = can("feedback")
      ? ["right", "wrong"].map((word) =>
          h("button", { "aria-label": `${one.name} was ${word}`, onclick: (event) => teach(event.target, word) }, word === "right" ? "Right" : "Wrong"),
        )
      : "–";
    async function teach(button, word) {
      if (button.getAttribute("aria-disabled")) return;
      try {
        await call("flow.feedback", { expert: one.name, reward: word === "right" ? 1 : 0, route: found.route });
        say(said, `Learned: ${one.name} was ${word} for this.`);
        button.setAttribute("aria-disabled", "true"); // not disabled: the focus stays where it is
      } catch (error) {
        say(said, error.message);
      }
    }
    return row(EXPERTS, [one.name, percent(one.probability, 1), bar, h("span", { class: "reasons" }, ...reasons), percent(one.load), h("span", { class: "buttons" }, ...[judge].flat())], { "data-expert": one.name });
  });
  return h("section", { class: "card" }, h("div", { class: "scroll" }, framed("Ranked experts", EXPERTS, rows)));
}

function nearest(found) {
  const rows = found.nearest.map((one) => row(NEAREST, [one.text || "–", one.expert, one.similarity.toFixed(3), one.weight.toFixed(2)]));
  return h("section", { class: "card" }, h("div", { class: "scroll" }, framed("Nearest patterns", NEAREST, rows)));
}

function framed(caption, columns, rows) {
  return h(
    "table",
    { class: "wide" },
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...columns.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title)))),
    h("tbody", {}, ...(rows.length ? rows : [h("tr", {}, h("td", { colspan: columns.length, class: "quiet" }, "None"))])),
  );
}

// The end of the audit log, as it is written.

import { badge, h, replace, row, say } from "./dom.js";
import { store } from "./store.js";

const COLUMNS = [["Line", "n"], ["Time"], ["Who"], ["What"], ["Outcome"], ["Where from"]];
const SHOWN = 200;

export function auditView() {
  const filter = h("input", { type: "search", id: "lines", oninput: () => update(null) });
  const count = h("p", { class: "quiet", role: "status" });
  const body = h("tbody");
  const list = h(
    "table",
    { class: "wide" },
    h("caption", { class: "unseen" }, "The last lines of the audit log"),
    h("thead", {}, h("tr", {}, ...COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title)))),
    body,
  );
  const element = h(
    "div",
    {},
    h("h1", {}, "Audit"),
    h("div", { class: "tools" }, h("label", { for: "lines" }, "Show"), filter, count),
    h("section", { class: "card" }, h("div", { class: "scroll" }, list)),
  );

  function update(names) {
    if (names && !names.has("audit") && !names.has("node")) return;
    const audits = Object.values(store.node.guards ?? {}).filter((one) => one.type === "audit");
    if (!audits.length) {
      say(count, "This node writes no audit log: it has no guard of type audit.");
      replace(body);
      return;
    }
    const word = filter.value.toLowerCase();
    const found = store.audit.filter((one) => !word || JSON.stringify(one).toLowerCase().includes(word)).slice(0, SHOWN);
    say(count, `${found.length} lines; the log is at ${audits.map((one) => one.seq).join(", ")}`);
    if (body.firstChild?.dataset?.line === String(found[0]?.seq) && body.children.length === found.length) return;
    replace(body, ...found.map((one) => row(COLUMNS, cells(one), { "data-line": one.seq })));
  }
  return { element, update };
}

function cells(one) {
  const time = one.time.slice(11, 19);
  return [String(one.seq), h("time", { datetime: one.time }, time), one.principal ?? "–", what(one), one.outcome ? badge(one.outcome) : "–", one.address || one.edge || "–"];
}

function what(one) {
  if (one.what === "call") return `${one.agent}.${one.name}`;
  if (one.what === "operator") return `${one.action}${one.target ? ` ${one.target}` : ""}`;
  const rest = [one.peer, one.reason, one.node, one.experiment].filter(Boolean).join(" ");
  return `${one.what}${rest ? ` ${rest}` : ""}`;
}

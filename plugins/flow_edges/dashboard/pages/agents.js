// Agents as a table of any length: only the rows in sight are in the page, so 1,000 are as quick as ten.

import { badge, h, number, percent, replace, row, say, seconds } from "./dom.js";
import { ask } from "./live.js";
import { confirmed } from "./ask.js";
import { may, store } from "./store.js";

const HIGH = 44; // pixels of a row, as in style.css
const BEYOND = 8; // rows above and below those in sight

const COLUMNS = [
  { title: "Agent", key: (one) => one.name, cell: name },
  { title: "State", key: (one) => one.state, cell: (one) => badge(one.state) },
  { title: "Node", key: (one) => one.node, cell: (one) => one.node },
  { title: "Workers", kind: "n", key: (one) => one.pool?.workers ?? -1, cell: workers },
  { title: "Queue", kind: "n", key: (one) => one.pool?.waiting ?? -1, cell: (one) => (one.pool ? number(one.pool.waiting) : "–") },
  { title: "Calls", kind: "n", key: (one) => one.calls ?? -1, cell: (one) => number(one.calls) },
  { title: "Failed", kind: "n", key: (one) => failed(one) ?? -1, cell: (one) => number(failed(one)) },
  { title: "Median", kind: "n", key: (one) => one.durations?.p50 ?? -1, cell: (one) => seconds(one.durations?.p50) },
  { title: "99th", kind: "n", key: (one) => one.durations?.p99 ?? -1, cell: (one) => seconds(one.durations?.p99) },
  { title: "Breaker", key: (one) => one.breaker ?? "", cell: (one) => (one.breaker ? badge(one.breaker) : "–") },
  { title: "Restarts", kind: "n", key: restarts, cell: (one) => number(restarts(one)) },
  { title: "Last trouble", key: (one) => trouble(one), cell: (one) => h("span", { class: "cut", title: trouble(one) }, trouble(one)) },
];
const HEADS = COLUMNS.map((one) => [one.title, one.kind]);

function name(one) {
  return h("a", { href: `#/agents/${encodeURIComponent(one.key)}` }, one.name);
}

// The workers; of an agent elsewhere, while its node does not answer, what it told last: how busy it is, of how
// many calls at a time.
function workers(one) {
  if (one.pool) return `${one.pool.active} / ${one.pool.workers}`;
  if (one.here || one.state === "stopped") return "–";
  const told = `${percent(one.load)} of ${number(one.size)}`;
  return h("span", { title: `${percent(one.load)} busy, as node ${one.node} told last, of ${number(one.size)} calls at a time` }, told);
}

// Of agents elsewhere there are figures while their node answers.
export function failed(one) {
  return one.calls === undefined ? undefined : one.failed + one.faulty + one.expired + one.lost;
}

// The supervisor begins a life anew; within a life, workers that crashed were replaced.
export function restarts(one) {
  return one.calls === undefined ? undefined : Math.max(0, one.lives - 1) + one.crashes;
}

export function trouble(one) {
  return one.reason || one.trouble || "";
}

export function agentsView() {
  let sorted = { column: 0, down: false };
  let found = [];
  const filter = h("input", { type: "search", id: "filter", placeholder: "name, state, node or role", oninput: () => { scroller.scrollTop = 0; update(null); } });
  const count = h("p", { class: "quiet", role: "status" });
  const heads = COLUMNS.map((one, place) =>
    h("th", { scope: "col", class: one.kind ?? null }, h("button", { class: "sort", onclick: () => sort(place) }, one.title)),
  );
  const above = h("tr", { "aria-hidden": "true", class: "room" }, h("td", { colspan: COLUMNS.length }));
  const below = above.cloneNode(true);
  const body = h("tbody");
  const list = h(
    "table",
    { class: "wide rows" },
    h("caption", { class: "unseen" }, "Agents of this node, and those of others that it knows"),
    h("thead", {}, h("tr", { "aria-rowindex": 1 }, ...heads)),
    body,
  );
  const scroller = h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Agents", onscroll: () => paint() }, list);
  const detail = detailOf(back);
  const element = h(
    "div",
    { class: "agents" },
    h("h1", {}, "Agents"),
    h("div", { class: "tools" }, h("label", { for: "filter" }, "Show"), filter, count),
    scroller,
    detail.element,
  );

  function sort(column) {
    sorted = { column, down: sorted.column === column ? !sorted.down : Boolean(COLUMNS[column].kind) };
    update(null);
  }

  function select() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (one) => {
      const text = [one.name, one.state, one.node, one.type, ...(one.roles ?? [])].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const { key } = COLUMNS[sorted.column];
    const way = sorted.down ? -1 : 1;
    found = [...store.agents.values()].filter(fits);
    found.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return way * order || one.key.localeCompare(other.key, "en", { numeric: true });
    });
    heads.forEach((head, place) => {
      if (place === sorted.column) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    say(count, found.length === store.agents.size ? `${number(found.length)} agents` : `${number(found.length)} of ${number(store.agents.size)} agents`);
    list.setAttribute("aria-rowcount", found.length + 1);
  }

  // Whoever closes the details goes on where they opened them.
  function back(key) {
    (rows.get(key)?.row.querySelector("a") ?? scroller).focus();
  }

  // Rows that are in the page stay there while they are in sight: the focus stays where it is.
  const rows = new Map();
  function paint() {
    const first = Math.max(0, Math.floor(scroller.scrollTop / HIGH) - BEYOND);
    const many = Math.ceil((scroller.clientHeight || 600) / HIGH) + 2 * BEYOND;
    const shown = found.slice(first, first + many);
    above.firstChild.style.height = `${first * HIGH}px`;
    below.firstChild.style.height = `${Math.max(0, found.length - first - shown.length) * HIGH}px`;
    const keys = new Set(shown.map((one) => one.key));
    for (const [key, kept] of rows) {
      if (!keys.has(key)) {
        kept.row.remove();
        rows.delete(key);
      }
    }
    let last = above;
    if (above.parentNode !== body) body.append(above, below);
    shown.forEach((one, place) => {
      const signs = JSON.stringify(one);
      let kept = rows.get(one.key);
      if (!kept) {
        kept = { row: row(HEADS, COLUMNS.map((column) => column.cell(one)), { "data-agent": one.key }), signs };
        rows.set(one.key, kept);
      } else if (kept.signs !== signs) {
        COLUMNS.forEach((column, at) => {
          if (at) replace(kept.row.children[at], column.cell(one));
        });
        kept.signs = signs;
      }
      kept.row.setAttribute("aria-rowindex", first + place + 2);
      if (last.nextSibling !== kept.row) last.after(kept.row);
      last = kept.row;
    });
  }

  function update(names) {
    if (names && !names.has("agents")) return;
    select();
    paint();
    detail.update();
  }
  return { element, update, go: ([chosen]) => detail.go(chosen) };
}

// One agent in full, beside the table, with what may be done to it.
function detailOf(closed) {
  let chosen = null;
  let known = null;
  let asked = 0;
  const element = h("aside", { class: "card detail", "aria-labelledby": "detail", hidden: true });
  const title = h("h2", { id: "detail", tabindex: -1 });
  const state = h("p");
  const buttons = h("p", { class: "buttons" });
  const said = h("p", { role: "alert", class: "trouble" });
  const facts = h("dl", { class: "facts" });
  const stderr = h("div");
  element.append(
    h("p", { class: "close" }, h("a", { href: "#/agents", "aria-label": "Close the details" }, "Close")),
    title, state, buttons, said, facts, stderr,
  );

  function go(agent) {
    if (agent === chosen || (agent === undefined && chosen === null)) return;
    if (agent === undefined) closed(chosen);
    chosen = agent ?? null;
    element.hidden = chosen === null;
    known = null;
    say(said, "");
    replace(facts);
    replace(stderr);
    if (chosen !== null) title.focus();
  }

  function update() {
    if (chosen === null) return;
    const one = store.agents.get(chosen);
    say(title, one ? called(one) : chosen);
    if (!one) {
      replace(state, "There is no such agent any more.");
      replace(buttons);
      return;
    }
    const signs = JSON.stringify(one);
    if (signs === known) return;
    known = signs;
    replace(state, badge(one.state), " ", one.reason);
    const focused = document.activeElement?.dataset?.step;
    replace(buttons, ...steps(one));
    if (focused) buttons.querySelector(`[data-step=${focused}]`)?.focus();
    replace(facts, ...told(one));
    if (one.here) fetchSaid();
  }

  async function fetchSaid() {
    const mine = (asked += 1);
    try {
      const { stderr: lines } = await ask(`/api/agents/${encodeURIComponent(chosen)}`);
      if (mine !== asked) return;
      replace(stderr, lines.length ? [h("h3", {}, "What its processes said last"), h("pre", { tabindex: 0 }, lines.slice(-20).join("\n"))] : null);
    } catch {
      replace(stderr); // the table says what state it is in
    }
  }

  // An agent elsewhere is steered at its own node.
  function steps(one) {
    if (!one.here) return [];
    const found = one.state === "paused" ? [["resume", "Resume"]] : [["pause", "Pause"]];
    found.push(["restart", "Restart"]);
    return found
      .filter(([step]) => may(`agents.${step}`))
      .map(([step, word]) => h("button", { "data-step": step, onclick: () => take(step, word) }, word));
  }

  async function take(step, word) {
    if (step === "restart" && !(await confirmed(`Restart ${chosen}?`, "Calls under way may finish; then it begins anew.", word))) return;
    try {
      await ask(`/api/agents/${encodeURIComponent(chosen)}/${step}`, {});
      say(said, "");
    } catch (error) {
      say(said, error.message);
    }
  }
  return { element, go, update };
}

function called(one) {
  return one.here ? one.name : `${one.name} at ${one.node}`;
}

function told(one) {
  const pool = one.pool;
  const some = one.calls !== undefined;
  const facts = [
    ["Type", one.type],
    ["What it is", one.description],
    ["Roles", (one.roles ?? []).join(", ")],
    ["Offers", !one.offers ? `${one.tools} tools` : `${one.offers.tools} tools, ${one.offers.resources + one.offers.templates} resources, ${one.offers.prompts} prompts`],
    ["Workers", pool && `${pool.workers} (${pool.active} busy, ${pool.starting} starting)`],
    ["Queue", pool && `${number(pool.waiting)} waiting, ${number(pool.waits)} have waited, ${number(pool.refused)} refused`],
    ["Calls", some && `${number(one.calls)}: ${number(one.succeeded)} good, ${number(one.failed)} refused by it, ${number(one.faulty)} failed, ${number(one.expired)} too late, ${number(one.lost)} lost, ${number(one.cancelled)} cancelled`],
    ["Took", some && `${seconds(one.durations.p50)} in the middle, ${seconds(one.durations.p99)} at the 99th percentile, ${seconds(one.durations.longest)} at most`],
    ["Lives", some && `${number(one.lives)}, ${number(one.crashes)} crashes`],
    ["Breaker", one.breaker],
    ["Trouble", one.trouble],
    ["Way there", one.here ? null : `${one.hops} ${one.hops === 1 ? "hop" : "hops"}, ${number(one.under_way)} calls of this node under way`],
  ];
  return facts.filter(([, text]) => text).map(([title, text]) => h("div", {}, h("dt", {}, title), h("dd", {}, text)));
}

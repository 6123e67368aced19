// Requests as they flow, and the way of one of them as a waterfall of its spans.

import { badge, h, number, replace, row, say, seconds } from "./dom.js";
import { ask } from "./live.js";
import { may, store } from "./store.js";

const COLUMNS = [["Request"], ["State"], ["Took", "n"], ["Ago", "n"], ["By"], ["Error"]];
const SHOWN = 100;

export function requestsView() {
  let held = null; // the lists as they were when the person held them
  const hold = h("button", { "aria-pressed": "false", onclick: toggle }, "Hold");
  const count = h("p", { class: "quiet", role: "status" });
  const running = h("tbody");
  const ended = h("tbody");
  const traced = traceOf((id) => (element.querySelector(`[data-request="${CSS.escape(id)}"]`) ?? hold).focus());
  const element = h(
    "div",
    {},
    h("h1", {}, "Requests"),
    h("div", { class: "tools" }, hold, count),
    traced.element,
    h("section", { class: "card" }, frame("Under way", running)),
    h("section", { class: "card" }, frame("Ended lately", ended)),
  );

  function toggle() {
    held = held ? null : { ...store.requests };
    hold.setAttribute("aria-pressed", held ? "true" : "false");
    update(null);
  }

  function update(names) {
    if (names && !names.has("requests")) return;
    const { running: now, more, ended: done } = held ?? store.requests;
    say(count, held ? "Held: it goes on behind what you see." : `${number(now.length + more)} under way`);
    fill(running, now, (one) => one.seconds);
    fill(ended, done.slice(0, SHOWN), (one) => one.seconds);
  }

  return { element, update, go: ([id]) => traced.go(id) };
}

function frame(caption, body) {
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "wide" },
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, ...COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title)))),
      body,
    ),
  );
}

function fill(body, lines) {
  const focused = document.activeElement?.dataset?.request;
  if (!lines.length) {
    replace(body, h("tr", {}, h("td", { colspan: COLUMNS.length, class: "quiet" }, "None")));
    return;
  }
  const now = performance.now() / 1000;
  replace(
    body,
    ...lines.map((one) => {
      const ago = one.ago + (one.at ? now - one.at : 0);
      const shown = `${one.agent}.${one.name}`;
      const title = may("traces")
        ? h("a", { href: `#/requests/${encodeURIComponent(one.id)}`, "data-request": one.id }, shown)
        : shown;
      return row(COLUMNS, [title, badge(one.state), seconds(one.seconds), seconds(ago), one.principal, one.error], { "data-id": one.id });
    }),
  );
  if (focused) body.querySelector(`[data-request="${CSS.escape(focused)}"]`)?.focus();
}

// The spans of one request, each at its time beneath its parent.
// Whoever closes it goes on where they opened it.
function traceOf(closed) {
  let chosen = null;
  const title = h("h2", { id: "trace", tabindex: -1 }, "");
  const said = h("p", { role: "alert", class: "trouble" });
  const drawn = h("div", { class: "scroll" });
  const element = h(
    "section",
    { class: "card", "aria-labelledby": "trace", hidden: true },
    h("p", { class: "close" }, h("a", { href: "#/requests" }, "Close")),
    title, said, drawn,
  );

  async function go(id) {
    if (id === undefined) {
      if (chosen !== null) closed(chosen);
      chosen = null;
      element.hidden = true;
      return;
    }
    if (id === chosen) return;
    chosen = id;
    element.hidden = false;
    say(title, "The way of one request");
    say(said, "");
    replace(drawn);
    title.focus();
    try {
      const trace = await ask(`/api/traces/${encodeURIComponent(id)}`);
      if (chosen === id) replace(drawn, waterfall(trace));
    } catch (error) {
      if (chosen === id) say(said, error.status === 404 ? "Nothing was recorded of this request: it was not sampled, or it is long ago." : error.message);
    }
  }
  return { element, go };
}

const SPANS = [["Span"], ["Node"], ["Began", "n"], ["Took", "n"], ["When", "bars"]];

function waterfall({ trace_id: id, spans, missing = [] }) {
  const ordered = nested(spans);
  const first = Math.min(...spans.map((one) => one.start));
  const whole = Math.max(1e-9, ...spans.map((one) => one.start + one.seconds - first));
  const rows = ordered.map(({ span, depth }) => {
    const failed = span.failed || span.error;
    const label = h("span", {}, span.name, failed ? " " : null, failed ? badge("error", span.error || "failed") : null);
    label.style.paddingInlineStart = `${depth}rem`;
    const bar = h("span", { class: `span${failed ? " bad" : ""}` });
    bar.style.marginInlineStart = `${(100 * (span.start - first)) / whole}%`;
    bar.style.width = `${Math.max(0.4, (100 * span.seconds) / whole)}%`;
    return row(SPANS, [label, span.node ?? "", seconds(span.start - first), seconds(span.seconds), bar], {
      "data-span": span.span_id, title: attributes(span),
    });
  });
  return h(
    "table",
    { class: "wide waterfall" },
    h("caption", { class: "quiet" }, `Trace ${id}: ${spans.length} spans in ${seconds(whole)}${missing.length ? `; not told by ${missing.join(", ")}` : ""}`),
    h("thead", {}, h("tr", {}, ...SPANS.map(([name, kind]) => h("th", { scope: "col", class: kind ?? null }, name)))),
    h("tbody", {}, ...rows),
  );
}

function attributes(span) {
  return Object.entries(span.attributes ?? {}).map(([name, value]) => `${name}: ${value}`).join("\n");
}

function nested(spans) {
  const known = new Set(spans.map((one) => one.span_id));
  const under = Map.groupBy ? Map.groupBy(spans, parent) : grouped(spans, parent);
  function parent(one) {
    return known.has(one.parent_id) ? one.parent_id : "";
  }
  const ordered = [];
  const seen = new Set();
  const walk = (id, depth) => {
    for (const span of (under.get(id) ?? []).sort((a, b) => a.start - b.start)) {
      if (seen.has(span.span_id)) continue;
      seen.add(span.span_id);
      ordered.push({ span, depth });
      walk(span.span_id, depth + 1);
    }
  };
  walk("", 0);
  return ordered;
}

function grouped(spans, key) {
  const found = new Map();
  for (const one of spans) found.set(key(one), [...(found.get(key(one)) ?? []), one]);
  return found;
}

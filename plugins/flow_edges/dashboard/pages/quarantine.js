// Tools that wait for approval, since their upstream has changed them: what has changed, and a lever.

import { h, replace, say } from "./dom.js";
import { ask } from "./live.js";
import { may, store } from "./store.js";

export function quarantineCard() {
  const said = h("p", { role: "status" });
  const list = h("ul", { class: "plainlist" });
  const element = h("section", { class: "card", "aria-labelledby": "waiting", hidden: true }, h("h2", { id: "waiting", tabindex: -1 }, "Tools that wait for approval"), said, list);
  let known = "";

  function update() {
    const waiting = Object.entries(store.node.guards ?? {})
      .filter(([, guard]) => guard.type === "pinning")
      .flatMap(([guard, { quarantined }]) => quarantined.map((tool) => ({ guard, tool })));
    element.hidden = !waiting.length && !said.textContent;
    const signs = JSON.stringify(waiting);
    if (signs === known) return;
    known = signs;
    replace(list, ...waiting.map(line));
  }

  function line({ guard, tool }) {
    const shown = h("div");
    const look = h("button", { "aria-label": `Show what changed in ${tool}`, onclick: show }, "Show what changed");
    async function show() {
      try {
        const { result } = await ask(`/api/guards/${encodeURIComponent(guard)}/list`, {});
        const found = result.quarantined.find((one) => one.tool === tool);
        if (!found) return say(said, `${tool} waits no more.`);
        const text = difference(found.before, found.definition).join("\n");
        replace(
          shown,
          h("pre", { tabindex: 0, "aria-label": `what changed in ${tool}` }, text),
          may("guards.approve") ? h("button", { "aria-label": `Approve ${tool}`, onclick: () => approve(found) }, "Approve") : null,
        );
      } catch (error) {
        say(said, error.message);
      }
      return undefined;
    }
    // exactly what was shown is approved: one that has changed once more waits on
    async function approve({ fingerprint }) {
      try {
        await ask(`/api/guards/${encodeURIComponent(guard)}/approve`, { tool, fingerprint });
        say(said, `Approved: ${tool}.`);
        element.querySelector("h2").focus(); // what had the focus is there no more
      } catch (error) {
        say(said, error.message);
      }
    }
    return h("li", {}, h("p", { class: "tools" }, h("strong", {}, tool), may("guards.list") ? look : null), shown);
  }
  return { element, update };
}

function difference(before, after) {
  const [old, now] = [lines(before), lines(after)];
  if (!before) return now.map((one) => `+ ${one}`);
  const [had, has] = [new Set(old), new Set(now)];
  const gone = old.filter((one) => !has.has(one)).map((one) => `- ${one}`);
  const come = now.filter((one) => !had.has(one)).map((one) => `+ ${one}`);
  return gone.length + come.length ? [...gone, ...come] : ["only the order has changed"];
}

function lines(definition) {
  return JSON.stringify(sorted(definition), null, 2).split("\n");
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
}

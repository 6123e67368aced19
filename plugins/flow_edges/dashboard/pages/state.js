// The hard state: who leads, and how far the log of each node is.

import { badge, bytes, h, number, replace, row, seconds } from "./dom.js";
import { store } from "./store.js";

const COLUMNS = [["Node"], ["Part"], ["Log", "n"], ["Behind", "n"], ["Share of the log", "bars"], ["Phase"]];

export function stateView() {
  const facts = h("dl", { class: "facts" });
  const body = h("tbody");
  const words = h("p", { class: "quiet" });
  const list = h(
    "table",
    { class: "wide" },
    h("caption", { class: "unseen" }, "How far the log of each node is"),
    h("thead", {}, h("tr", {}, ...COLUMNS.map(([title, kind]) => h("th", { scope: "col", class: kind ?? null }, title)))),
    body,
  );
  const element = h(
    "div",
    {},
    h("h1", {}, "Consensus"),
    words,
    h("section", { class: "card" }, h("div", { class: "scroll" }, list)),
    h("section", { class: "card" }, h("h2", {}, "This node"), facts),
  );

  function update(names) {
    if (names && !names.has("state")) return;
    const shown = store.state;
    if (!shown || shown.error) {
      replace(words, shown?.error ?? "Looking …");
      replace(body);
      replace(facts);
      return;
    }
    const { consensus, state, node } = shown;
    const where = consensus.height === undefined ? `in term ${number(consensus.term)}` : `view ${number(consensus.view)}`;
    const leads = consensus.leader ? `${consensus.leader} leads ${where}.` : "Nobody leads now.";
    replace(words, consensus.voters?.length > 1 ? leads : `Engine ${consensus.type}: one node, which decides alone.`);
    replace(body, ...logs(shown).map((cells) => row(COLUMNS, cells, { "data-log": cells[0] })));
    const storage = consensus.storage ?? {};
    const took = storage.fsync_seconds ?? {};
    replace(
      facts,
      ...[
        ["Engine", consensus.type],
        ["Node", node],
        ["Applied", number(state.position)],
        ["Committed", number(consensus.commit)],
        ["Block", consensus.height === undefined ? null : `${number(consensus.height)} in epoch ${number(consensus.epoch)}; ${number(consensus.faults)} of ${consensus.voters.length} may lie`],
        ...Object.entries(consensus.evidence ?? {}).map(([name, how]) => ["Evidence", `${name} lies: it has signed ${how}`]),
        [consensus.height === undefined ? "Elections" : "Views given up", consensus.elections],
        ["Log on disk", storage.last === undefined ? null : `${number(storage.first)} to ${number(storage.last)}, ${bytes(storage.bytes ?? 0)}`],
        ["Fsync", took.count ? `${seconds(took.p50)} in the middle, ${seconds(took.p99)} at the 99th percentile` : null],
        ["Commit", consensus.commit_seconds?.count ? `${seconds(consensus.commit_seconds.p50)} in the middle, ${seconds(consensus.commit_seconds.p99)} at the 99th percentile` : null],
        ["Kept on disk", state.durable ? "yes" : "no, in memory only"],
        ["Trouble", state.trouble || consensus.trouble || consensus.stopped || storage.failed],
      ]
        .filter(([, text]) => text !== null && text !== undefined && text !== "")
        .map(([title, text]) => h("div", {}, h("dt", {}, title), h("dd", {}, String(text)))),
    );
  }
  return { element, update };
}

// A line for each member: where its log ends, by the leader's word; this node's by its own.
export function logs({ node, state, consensus }) {
  const followers = consensus.followers ?? {};
  const last = consensus.height ?? consensus.last ?? state.position; // blocks, where there are any
  const leader = consensus.leader;
  const top = Math.max(1, last, ...Object.values(followers).map((one) => one.match + one.lag));
  const voters = new Set(consensus.voters ?? []);
  const names = new Set([...voters, ...(consensus.learners ?? []), ...Object.keys(followers), node]);
  return [...names].sort().map((name) => {
    const known = followers[name];
    const end = name === leader ? top : known ? known.match : name === node ? last : null;
    const part = (consensus.evidence ?? {})[name] ? badge("dead", "lies") : name === leader ? badge("leader") : voters.has(name) || voters.size === 0 ? badge("voter") : badge("learner");
    const bar = h("span", { class: "span" });
    bar.style.width = `${end === null ? 0 : Math.max(0.5, (100 * end) / top)}%`;
    const phase = known ? (known.active ? known.phase : badge("dead", "does not answer")) : name === leader ? "leads" : end === null ? "not known" : "this node";
    return [name, part, end === null ? "–" : number(end), end === null ? "–" : number(top - end), bar, phase];
  });
}

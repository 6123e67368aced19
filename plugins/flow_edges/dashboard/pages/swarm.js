// The swarm as a drawing in its own topology, and as a table for those who do not see it.

import { badge, h, replace, row, s, seconds } from "./dom.js";
import { store } from "./store.js";

const WIDTH = 560;
const HEIGHT = 380;
const PRESENT = ["alive", "suspect"];
const SHAPES = { hierarchical: "tree" };

export function swarmCard() {
  const title = h("h2", { id: "swarm" }, "Swarm");
  const words = h("p", { class: "quiet" });
  const lines = s("g", {});
  const nodes = s("g", {});
  const drawing = s(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "swarm", role: "img", "aria-labelledby": "swarm-said" },
    s("title", { id: "swarm-said" }, ""),
    lines,
    nodes,
  );
  const columns = [["Node"], ["State"], ["Hops", "n"], ["Round trip", "n"], ["Agents", "n"], ["In this state", "n"]];
  const body = h("tbody");
  const members = h(
    "table",
    { class: "members" },
    h("caption", { class: "unseen" }, "Members of the swarm"),
    h("thead", {}, h("tr", {}, ...columns.map(([name, kind]) => h("th", { scope: "col", class: kind ?? null }, name)))),
    body,
  );
  const element = h("section", { class: "card", "aria-labelledby": "swarm" }, title, words, drawing, h("div", { class: "scroll" }, members));

  function update() {
    const seen = picture();
    replace(words, seen.words);
    drawing.querySelector("title").textContent = seen.told;
    replace(lines, ...seen.links.map(drawLink(seen)));
    replace(nodes, ...seen.members.map(drawNode(seen)));
    members.hidden = !store.node.swarm;
    drawing.toggleAttribute("hidden", !store.node.swarm);
    const agents = counts();
    const older = store.node.swarm ? performance.now() / 1000 - store.node.swarm.at : 0;
    replace(
      body,
      ...seen.members.map((one) =>
        row(columns, [
          one.name + (one.name === seen.leader ? " (leader)" : one.name === seen.self ? " (this node)" : ""),
          badge(one.state),
          one.hops ?? "–",
          seconds(one.rtt),
          agents.get(one.name) ?? "–",
          seconds(one.since + older),
        ]),
      ),
    );
  }
  return { element, update };
}

function counts() {
  const found = new Map();
  for (const one of store.agents.values()) found.set(one.node, (found.get(one.node) ?? 0) + 1);
  return found;
}

// What there is to draw: members with places, links that stand and that are missing.
function picture() {
  const swarm = store.node.swarm;
  const self = store.node.node ?? "";
  const leader = store.node.state?.consensus?.leader ?? "";
  if (!swarm) {
    const alone = { name: self, state: "alive", x: WIDTH / 2, y: HEIGHT / 2, hops: 0, rtt: null, since: store.node.uptime };
    const words = self ? "This node is alone: it is part of no swarm." : "Looking …";
    return { self, leader, members: [alone], places: new Map([[self, alone]]), links: [], words, told: words };
  }
  const graph = swarm.graph.map(([one, other]) => [one, other]);
  const present = swarm.members.filter((one) => PRESENT.includes(one.state));
  const planned = swarm.planned.length ? swarm.planned : graph;
  const spots = placed(swarm.topology, present.map((one) => one.name), planned);
  const absent = swarm.members.filter((one) => !PRESENT.includes(one.state));
  absent.forEach((one, place) => spots.set(one.name, [46 + 92 * (place % 6), HEIGHT - 58 - 64 * Math.floor(place / 6)]));
  const members = swarm.members.map((one) => ({ ...one, x: spots.get(one.name)[0], y: spots.get(one.name)[1] }));
  const places = new Map(members.map((one) => [one.name, one]));
  const wished = new Set(planned.map((pair) => pair.join("\n")));
  const links = graph
    .filter(([one, other]) => places.has(one) && places.has(other))
    .map(([one, other]) => ({ one, other, missing: false, extra: !wished.has(`${one}\n${other}`) }));
  const known = new Set(graph.map((pair) => pair.join("\n")));
  for (const [peer, about] of Object.entries(swarm.wanted)) {
    const pair = [self, peer].sort();
    if (!about.up && places.has(peer) && !known.has(pair.join("\n"))) {
      links.push({ one: self, other: peer, missing: true });
    }
  }
  const alive = swarm.members.filter((one) => one.state === "alive").length;
  const words = `${swarm.cluster}, a ${SHAPES[swarm.topology] ?? swarm.topology} of ${present.length}: ${spared(swarm.tolerates)}, at most ${hops(swarm.reach)}`;
  const told = `${alive} of ${swarm.members.length} nodes are alive, ${links.filter((one) => !one.missing).length} links stand` +
    (leader ? `, ${leader} leads` : "");
  return { self, leader, members, places, links, words, told };
}

function spared(count) {
  if (!count) return "some loss parts it until new links stand";
  return `${count === 1 ? "any one" : `any ${count}`} may be lost at once`;
}

function hops(count) {
  return count === 1 ? "one hop" : `${count} hops`;
}

// Where each node is drawn: a circle for meshes and rings, rays for a star, levels for a tree.
function placed(topology, names, graph) {
  const spots = new Map();
  const degree = new Map(names.map((one) => [one, 0]));
  for (const pair of graph) for (const one of pair) if (degree.has(one)) degree.set(one, degree.get(one) + 1);
  const middle = [WIDTH / 2, HEIGHT / 2 - 8];
  if (topology === "star" && names.length > 2) {
    const hub = names.reduce((best, one) => (degree.get(one) > degree.get(best) ? one : best));
    spots.set(hub, middle);
    circle(names.filter((one) => one !== hub), middle, spots);
  } else if (topology === "hierarchical" && names.length > 2) {
    levels(names, graph).forEach((level, depth, all) =>
      level.forEach((one, place) => {
        const y = 54 + ((HEIGHT - 130) * depth) / Math.max(1, all.length - 1);
        spots.set(one, [(WIDTH * (place + 0.5)) / level.length, y]);
      }),
    );
  } else if (names.length === 1) {
    spots.set(names[0], middle);
  } else {
    circle(names, middle, spots);
  }
  return spots;
}

function circle(names, [x, y], spots) {
  const wide = WIDTH / 2 - 78;
  const high = HEIGHT / 2 - 58;
  names.forEach((one, place) => {
    const angle = (2 * Math.PI * place) / names.length - Math.PI / 2;
    spots.set(one, [x + wide * Math.cos(angle), y + high * Math.sin(angle)]);
  });
}

function levels(names, graph) {
  const next = new Map(names.map((one) => [one, []]));
  for (const [one, other] of graph) {
    next.get(one)?.push(other);
    next.get(other)?.push(one);
  }
  const found = new Set();
  const all = [];
  // the root is whoever is nearest to the farthest; of two, the one with more links
  const depth = new Map(names.map((one) => [one, deepest(one, next)]));
  const starts = [...names].sort((one, other) => depth.get(one) - depth.get(other) || next.get(other).length - next.get(one).length);
  for (const start of starts) {
    if (found.has(start)) continue;
    let level = [start];
    found.add(start);
    for (let depth = 0; level.length; depth += 1) {
      all[depth] = [...(all[depth] ?? []), ...level];
      level = level.flatMap((one) => next.get(one).filter((other) => next.has(other) && !found.has(other) && found.add(other)));
    }
  }
  return all;
}

function deepest(start, next) {
  const seen = new Set([start]);
  let depth = 0;
  let level = [start];
  while (level.length) {
    level = level.flatMap((one) => next.get(one).filter((other) => next.has(other) && !seen.has(other) && seen.add(other)));
    if (level.length) depth += 1;
  }
  return seen.size < next.size ? Infinity : depth;
}

const drawLink = ({ self, places, members }) => ({ one, other, missing, extra }) => {
  const [from, to] = [places.get(one), places.get(other)];
  const mine = one === self || other === self;
  const peer = mine ? places.get(one === self ? other : one) : null;
  const [own, there] = one === self ? [from, to] : [to, from];
  const shown = members.length <= 16 && peer && peer.rtt !== null && peer.rtt !== undefined;
  return s(
    "g",
    { class: `link${missing ? " missing" : ""}${extra ? " extra" : ""}${mine ? " mine" : ""}`, "data-link": `${one} ${other}` },
    s("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y }),
    // beyond the middle, seen from here: there it is clear of this node's own name, and of its other links' times
    shown ? s("text", { x: own.x + 0.6 * (there.x - own.x), y: own.y + 0.6 * (there.y - own.y) - 5 }, seconds(peer.rtt)) : null,
  );
};

const drawNode = ({ self, leader, members }) => (one) => {
  const size = members.length > 24 ? 9 : 15;
  const kinds = ["node", one.state, one.name === self ? "self" : "", one.name === leader ? "leads" : ""];
  const notes = [];
  if (one.name === leader) notes.push("leader");
  if (one.name === self && store.node.swarm) notes.push("this node");
  if (one.state !== "alive") notes.push(one.state);
  // where links go down from a node, its name stands above it
  const [name, note] = one.y < HEIGHT / 2 - 20 && members.length > 1 ? [-size - 10, -size - 26] : [size + 20, size + 35];
  return s(
    "g",
    { class: kinds.join(" ").trim(), transform: `translate(${one.x.toFixed(1)} ${one.y.toFixed(1)})`, "data-node": one.name },
    one.name === leader ? s("circle", { r: size + 5, class: "crown" }) : null,
    PRESENT.includes(one.state)
      ? s("circle", { r: size, class: "body" })
      : s("path", { d: `M${-size} ${-size}L${size} ${size}M${size} ${-size}L${-size} ${size}`, class: "cross" }),
    one.state === "suspect" ? s("text", { y: 6, class: "sign" }, "?") : null,
    s("text", { y: name, class: "name" }, one.name),
    notes.length ? s("text", { y: note, class: "note" }, notes.join(", ")) : null,
  );
};

// What is known of the node, as its events told it; views are told when something of it has changed.

const KEPT = 500;

export const store = {
  session: null,
  connection: "connecting",
  node: {},
  agents: new Map(),
  requests: { running: [], more: 0, ended: [] },
  state: null,
  happened: [],
  audit: [],
  rates: [], // {at, rate}: requests per second, one for each look
  heard: new Set(), // topics of which something has come
};

const listeners = new Set();
const changed = new Set();
let waiting = false;

export function listen(listener) {
  listeners.add(listener);
}

// Views are told once a frame, with the names of all that changed.
export function touch(name) {
  changed.add(name);
  if (waiting) return;
  waiting = true;
  const tell = () => {
    waiting = false;
    const names = new Set(changed);
    changed.clear();
    for (const listener of listeners) listener(names);
  };
  if (document.hidden) setTimeout(tell, 250);
  else requestAnimationFrame(tell);
}

const TAKES = {
  node(data) {
    const before = store.node.requests;
    const fresh = "requests" in data && before;
    if (data.swarm) data.swarm.at = performance.now() / 1000;
    Object.assign(store.node, data);
    if ("uptime" in data) note(fresh ? before : null);
  },
  agents({ rows, gone }) {
    const now = performance.now() / 1000;
    for (const row of rows) store.agents.set(row.key, { ...row, at: now });
    for (const key of gone) store.agents.delete(key);
  },
  requests({ running, more, ended }) {
    store.requests.running = running;
    store.requests.more = more;
    const now = performance.now() / 1000;
    const known = new Set(store.requests.ended.map((one) => one.id));
    const fresh = ended.filter((one) => !known.has(one.id)).map((one) => ({ ...one, at: now }));
    if (fresh.length) store.requests.ended = [...fresh.reverse(), ...store.requests.ended].slice(0, KEPT);
  },
  state(data) {
    store.state = data;
  },
  happened({ lines }) {
    store.happened = joined(store.happened, lines, (one) => one.number);
  },
  audit({ lines }) {
    store.audit = joined(store.audit, lines, (one) => `${one.log}/${one.seq}`);
  },
};

function joined(known, lines, key) {
  const keys = new Set(known.map(key));
  const fresh = lines.filter((one) => !keys.has(key(one)));
  return [...fresh.reverse(), ...known].slice(0, KEPT);
}

// Requests per second since the look before.
function note() {
  const accepted = store.node.requests?.accepted ?? 0;
  const uptime = store.node.uptime;
  const last = store.rates.at(-1);
  if (last && uptime <= last.uptime) return;
  const rate = last ? Math.max(0, accepted - last.accepted) / (uptime - last.uptime) : 0;
  store.rates.push({ uptime, accepted, rate });
  if (store.rates.length > 120) store.rates.shift();
}

export function take(name, data) {
  TAKES[name]?.(data);
  store.heard.add(name);
  touch(name);
}

// Everything is told anew on a new stream: what is there no more must not stay.
export function forget() {
  store.node = {};
  store.agents.clear();
  store.requests = { running: [], more: 0, ended: [] };
  store.rates = [];
  store.happened = [];
  store.heard.clear();
}

export function may(action) {
  return store.session?.may.includes(action) ?? false;
}

export function can(tool) {
  return (store.session?.tools.includes(tool) && store.session.router) ?? false;
}

// The whole: who is there, which view is shown, and the stream that feeds all of them.

import { ask, follow, keep, Refused, token } from "./live.js";
import { h, replace, say, seconds } from "./dom.js";
import { forget, listen, may, store, take, touch } from "./store.js";
import { confirmed } from "./ask.js";
import { agentsView } from "./agents.js";
import { auditView } from "./audit.js";
import { memoryView } from "./memory.js";
import { overviewView } from "./overview.js";
import { requestsView } from "./requests.js";
import { routerView } from "./router.js";
import { stateView } from "./state.js";

const VIEWS = [
  { path: "overview", title: "Overview", make: overviewView, shown: () => true },
  { path: "agents", title: "Agents", make: agentsView, shown: () => may("agents") },
  { path: "requests", title: "Requests", make: requestsView, shown: () => may("tasks") },
  { path: "router", title: "Router", make: routerView, shown: () => store.session.router },
  { path: "memory", title: "Memory", make: memoryView, shown: () => store.session.router && may("memory.map") },
  { path: "consensus", title: "Consensus", make: stateView, shown: () => may("state") },
  { path: "audit", title: "Audit", make: auditView, shown: () => may("guards.tail") },
];

const content = document.getElementById("content");
let view = null; // {path, element, update(names), leave?}

function wanted() {
  const [path, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { path: path || "overview", rest: rest.map(decodeURIComponent) };
}

function show(moved) {
  const { path, rest } = wanted();
  const shown = VIEWS.filter((one) => one.shown());
  const chosen = shown.find((one) => one.path === path) ?? shown[0];
  replace(
    document.getElementById("views"),
    ...shown.map((one) =>
      h("li", {}, h("a", { href: `#/${one.path}`, "aria-current": one === chosen ? "page" : null }, one.title)),
    ),
  );
  if (view?.path !== chosen.path) {
    view?.leave?.();
    view = { path: chosen.path, ...chosen.make() };
    replace(content, view.element);
    document.title = `${chosen.title} · ${store.session.node} · flowcore`;
    if (moved) content.focus({ preventScroll: true });
  }
  view.go?.(rest);
  view.update(null);
}

function frame() {
  const { connection, why } = store;
  const line = document.getElementById("connection");
  line.className = connection;
  const words = { live: "Live", lost: "Lost", connecting: "Connecting", refused: "Refused" };
  const up = store.node.uptime === undefined ? "" : `, up ${seconds(store.node.uptime)}`;
  const drains = store.node.draining ? ", draining" : "";
  say(line, connection === "live" ? `Live${drains}${up}` : `${words[connection]}${why ? `: ${why}` : ""}`);
}

function announce() {
  const seen = announce.seen ?? 0;
  const latest = store.happened[0];
  if (!latest || latest.number <= seen) return;
  const first = seen === 0;
  announce.seen = latest.number;
  if (first) return; // what was before this page is no news
  const bad = store.happened.find(
    (one) => one.number > seen && ["failed", "open", "link.down", "denied"].includes(one.new),
  );
  if (bad) say(document.getElementById("announcer"), `${bad.kind} ${bad.about}: ${bad.new}. ${bad.reason}`);
}

listen((names) => {
  if (names.has("node") || names.has("connection")) frame();
  if (names.has("happened")) announce();
  view?.update(names);
});

async function start() {
  try {
    store.session = await ask("/session");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return signIn(token() ? error.message : "");
    if (error instanceof Refused) return fail(error.message);
    store.connection = "lost";
    store.why = "the node does not answer";
    frame();
    setTimeout(start, 2000);
    return undefined;
  }
  const { session } = store;
  say(document.getElementById("node"), session.node);
  replace(
    document.getElementById("who"),
    session.auth
      ? [`${session.principal.name} `, h("button", { class: "plain", onclick: signOut }, "Sign out")]
      : "This machine's operator",
  );
  replace(
    document.getElementById("actions"),
    may("drain") ? h("button", { class: "plain danger", onclick: drain }, "Drain this node") : null,
  );
  addEventListener("hashchange", () => show(true));
  show(false);
  if (!may("status")) return fail("You may see nothing of this node: ask whoever runs it for the permission.");
  follow(take, (state, why) => {
    if (state === "live") forget();
    store.connection = state;
    store.why = why;
    touch("connection");
    if (state === "refused") check();
  });
  return undefined;
}

// The stream was refused: perhaps the token is good no more, perhaps one may less than before.
async function check() {
  try {
    await ask("/session");
    fail("You may not watch this node any more.");
  } catch (error) {
    signIn(error.message);
  }
}

function signIn(why) {
  const field = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  const form = h(
    "form",
    { class: "card narrow" },
    h("h1", {}, "Sign in"),
    h("p", {}, "This node asks who you are. Bring the token that you use with its API."),
    h("label", { for: "token" }, "Token"),
    field,
    h("p", { class: "trouble", role: "alert" }, why),
    h("button", { class: "main" }, "Sign in"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keep(field.value.trim());
    location.reload();
  });
  view = null;
  replace(document.getElementById("views"));
  replace(content, form);
  field.focus();
}

function signOut() {
  keep(null);
  location.reload();
}

function fail(text) {
  view = null;
  replace(content, h("div", { class: "card narrow" }, h("h1", {}, "Nothing to see"), h("p", { role: "alert" }, text)));
}

async function drain() {
  const sure = await confirmed(
    `Drain ${store.session.node}?`,
    "It takes no new work from now on, finishes what it has, and ends.",
    "Drain",
  );
  if (!sure) return;
  try {
    await ask("/api/drain", {});
    say(document.getElementById("announcer"), "The node is draining.");
  } catch (error) {
    say(document.getElementById("announcer"), `Not drained: ${error.message}`);
  }
}

start();

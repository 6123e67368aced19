// The way to the node: requests with the token, and the stream of what changes.
// The token is kept in this tab alone, and goes nowhere but into the Authorization header. There are no cookies;
// requests are of the same origin so that a browser shows its client certificate, where the node asks for one.

const KEY = "flow-token";
const OWN = { "x-flow-dashboard": "1" };

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function token() {
  return sessionStorage.getItem(KEY);
}

export function keep(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

function headers() {
  const known = token();
  return known ? { ...OWN, authorization: `Bearer ${known}` } : { ...OWN };
}

export async function ask(path, body) {
  const asked = { headers: headers(), credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) {
    asked.method = "POST";
    asked.headers["content-type"] = "application/json";
    asked.body = JSON.stringify(body);
  }
  const answer = await fetch(path, asked);
  let data = null;
  try {
    data = await answer.json();
  } catch {
    throw new Refused(answer.status, `the node answered ${answer.status}, and not in JSON`);
  }
  if (!answer.ok) throw new Refused(answer.status, data.error?.message ?? `HTTP ${answer.status}`);
  return data;
}

// Calls a tool of the node; what it gave as structured content. Its refusal is an error like any other.
export async function call(tool, given) {
  const { result } = await ask("/api/call", { tool, arguments: given });
  const text = (result.content ?? []).map((one) => one.text ?? "").join("\n");
  if (result.isError) throw new Refused(200, text || "the tool failed");
  return result.structuredContent ?? text;
}

// Follows the stream for ever: `told(event, data)` for each event, `state("live" | "lost" | "refused", why)`.
export async function follow(told, state) {
  let wait = 500;
  for (;;) {
    try {
      const answer = await fetch("/live", {
        headers: headers(), credentials: "same-origin", cache: "no-store",
      });
      if (!answer.ok) {
        const data = await answer.json().catch(() => ({}));
        throw new Refused(answer.status, data.error?.message ?? `HTTP ${answer.status}`);
      }
      state("live", "");
      wait = 500;
      await read(answer.body.getReader(), told);
      state("lost", "the stream ended");
    } catch (error) {
      if (error instanceof Refused && [401, 403].includes(error.status)) {
        state("refused", error.message);
        return;
      }
      state("lost", error instanceof Refused ? error.message : "the node does not answer");
    }
    await new Promise((done) => setTimeout(done, wait * (0.75 + Math.random() / 2)));
    wait = Math.min(2 * wait, 8000);
  }
}

// Server-sent events (WHATWG HTML, section 9.2), as far as the node uses them.
async function read(reader, told) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const text of events) {
      let name = "message";
      const data = [];
      for (const line of text.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (data.length) told(name, JSON.parse(data.join("\n")));
    }
  }
}

// The TypeScript SDK's client of 2026-07-28: does what a client can do, and prints what came of it as JSON.
// Arguments: the endpoint's URL, or the server's command and environment as JSON; the SDK's folder.
const [target, sdk] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = await import(`${sdk}/dist/index.mjs`);
const { StdioClientTransport } = await import(`${sdk}/dist/stdio.mjs`);

const client = new Client(
  { name: "typescript", version: "2" },
  { capabilities: { elicitation: {}, sampling: {} }, versionNegotiation: { mode: "auto" } },
);
client.setRequestHandler("elicitation/create", async () => ({
  action: "accept",
  content: { name: "Ann" },
}));
client.setRequestHandler("sampling/createMessage", async () => ({
  role: "assistant",
  model: "m",
  content: { type: "text", text: "model says" },
}));
const transport = target.startsWith("{")
  ? new StdioClientTransport(JSON.parse(target))
  : new StreamableHTTPClientTransport(new URL(target));
await client.connect(transport);

const call = (name, args = {}, options) => client.callTool({ name, arguments: args }, options);
const found = { version: client.getNegotiatedProtocolVersion() };
found.tools = (await client.listTools()).tools.map((one) => one.name);
found.elicited = (await call("greet_elicited")).content[0].text;
found.rounds = (await call("greet_by_rounds")).content[0].text;
found.sampled = (await call("sample")).content[0].text;
found.progress = [];
await call("steps", { count: 3 }, { onprogress: (one) => found.progress.push(one.progress) });
found.mirrored = (await call("regional", { region: " zürich" })).content[0].text;
found.prompt = (await client.getPrompt({ name: "review", arguments: { code: "x" } })).messages.length;
found.misfit = (await call("echo", { text: 5 })).isError;
await call("nobody").catch((error) => (found.unknown = error.code));
await call("hang", {}, { timeout: 100 }).catch((error) => (found.timeout = error.code));
while (!(await call("cancellations")).structuredContent.cancelled);
await client.close();
console.log(JSON.stringify(found));

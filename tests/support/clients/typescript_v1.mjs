// The TypeScript SDK's client of 2025-11-25: does what a client can do, and prints what came of it as JSON.
// Arguments: the endpoint's URL, or the server's command and environment as JSON; the SDK's folder.
const [target, sdk] = process.argv.slice(2);
const { Client } = await import(`${sdk}/dist/esm/client/index.js`);
const { StreamableHTTPClientTransport } = await import(`${sdk}/dist/esm/client/streamableHttp.js`);
const { StdioClientTransport } = await import(`${sdk}/dist/esm/client/stdio.js`);
const types = await import(`${sdk}/dist/esm/types.js`);

const client = new Client(
  { name: "typescript", version: "1" },
  { capabilities: { elicitation: {}, sampling: {} } },
);
const told = [];
client.setRequestHandler(types.ElicitRequestSchema, async () => ({
  action: "accept",
  content: { name: "Ann" },
}));
client.setRequestHandler(types.CreateMessageRequestSchema, async () => ({
  role: "assistant",
  model: "m",
  content: { type: "text", text: "model says" },
}));
client.setNotificationHandler(types.ToolListChangedNotificationSchema, (one) => told.push(one.method));
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, (one) => told.push(one.method));
const stdio = target.startsWith("{");
const transport = stdio
  ? new StdioClientTransport(JSON.parse(target))
  : new StreamableHTTPClientTransport(new URL(target));
let agreed; // over stdio nobody keeps it but us
if (stdio) transport.setProtocolVersion = (version) => (agreed = version);
await client.connect(transport);

const call = (name, args = {}, options) =>
  client.callTool({ name, arguments: args }, undefined, options);
const found = { version: transport.protocolVersion ?? agreed };
found.tools = (await client.listTools()).tools.map((one) => one.name);
found.elicited = (await call("greet_elicited")).content[0].text;
found.sampled = (await call("sample")).content[0].text;
found.progress = [];
await call("steps", { count: 3 }, { onprogress: (one) => found.progress.push(one.progress) });
await client.subscribeResource({ uri: "test://static" });
await call("change", { uri: "test://static" });
await call("grow");
found.prompt = (await client.getPrompt({ name: "review", arguments: { code: "x" } })).messages.length;
found.misfit = (await call("echo", { text: 5 })).isError;
await call("hang", {}, { timeout: 100 }).catch((error) => (found.timeout = error.code));
while (told.length < 2 || !(await call("cancellations")).structuredContent.cancelled);
found.told = told.sort();
if (!stdio) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(found));

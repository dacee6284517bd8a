// OpenAI's Node client on a realtime connection: `node realtime.mjs FOLDER BASE MODEL` says, as JSON, what it heard.
import { createRequire } from "node:module";

const [folder, base, model] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { OpenAI } = require("openai");
const { OpenAIRealtimeWebSocket } = require("openai/realtime/websocket");

const client = new OpenAI({ apiKey: "sk-client", baseURL: `${base}/v1` });
const onURL = (url) => (url.protocol = "ws:");
const connection = new OpenAIRealtimeWebSocket({ model, onURL, dangerouslyAllowBrowser: true }, client);
const told = { text: "" };
connection.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
connection.on("session.created", (event) => {
  told.model = event.session.model;
  connection.send({ type: "response.create" });
});
connection.on("response.output_text.delta", (event) => (told.text += event.delta));
connection.on("response.done", (event) => {
  told.tokens = event.response.usage.output_tokens;
  connection.socket.addEventListener("close", () => console.log(JSON.stringify(told)));
  connection.close();
});

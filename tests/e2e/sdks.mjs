// The official Node clients: `node sdks.mjs FOLDER NAME [BASE]` says, as JSON, what a whole call, a stream, a call with tools
// and two errors came to. The packages are in FOLDER/node_modules. Without BASE they call their own hosts.
import { createRequire } from "node:module";

const [folder, name, base] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const messages = [{ role: "user", content: "say hello" }];
const schema = { type: "object", properties: { city: { type: "string" } } };

async function collect(stream, textOf) {
  let text = "";
  for await (const part of stream) text += textOf(part) ?? "";
  return text;
}

const sdks = {
  async openai() {
    const { OpenAI } = require("openai");
    const client = new OpenAI({ apiKey: "sk-client", maxRetries: 0, ...(base && { baseURL: `${base}/v1` }) });
    const ask = (model, more) => client.chat.completions.create({ model, messages, ...more });
    const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
    return {
      whole: async () => (await ask("gpt-4o")).choices[0].message.content,
      stream: async () => collect(await ask("gpt-4o", { stream: true }), (part) => part.choices[0]?.delta?.content),
      tools: async () => (await ask("gpt-4o", { tools })).choices[0].message.tool_calls[0].function.arguments,
      limited: () => ask("gpt-4o"),
      unknown: () => ask("my-own-model"),
      respond: async () => (await client.responses.create({ model: "gpt-5", input: "say hello" })).output_text,
    };
  },
  async anthropic() {
    const { Anthropic } = require("@anthropic-ai/sdk");
    const client = new Anthropic({ apiKey: "sk-client", maxRetries: 0, ...(base && { baseURL: base }) });
    const ask = (model, more) => client.messages.create({ model, max_tokens: 99, messages, ...more });
    const tools = [{ name: "weather", input_schema: schema }];
    return {
      whole: async () => (await ask("claude-sonnet-4-5")).content[0].text,
      stream: async () => collect(await ask("claude-sonnet-4-5", { stream: true }), (event) => event.delta?.text),
      tools: async () => JSON.stringify((await ask("claude-sonnet-4-5", { tools })).content[0].input),
      limited: () => ask("claude-sonnet-4-5"),
      unknown: () => ask("my-own-model"),
      respond: async () => (await client.messages.stream({ model: "claude-sonnet-4-5", max_tokens: 99, messages }).finalText()),
    };
  },
  async genai() {
    const { GoogleGenAI } = require("@google/genai");
    const client = new GoogleGenAI({ apiKey: "sk-client", ...(base && { httpOptions: { baseUrl: base } }) });
    const contents = "say hello";
    const ask = (model, config) => client.models.generateContent({ model, contents, config });
    const tools = [{ functionDeclarations: [{ name: "weather", parametersJsonSchema: schema }] }];
    const stream = () => client.models.generateContentStream({ model: "gemini-2.5-pro", contents });
    return {
      whole: async () => (await ask("gemini-2.5-pro")).text,
      stream: async () => collect(await stream(), (part) => part.text),
      tools: async () => JSON.stringify((await ask("gemini-2.5-pro", { tools })).functionCalls[0].args),
      limited: () => ask("gemini-2.5-pro"),
      unknown: () => ask("my-own-model"),
      respond: async () => String((await client.models.countTokens({ model: "gemini-2.5-pro", contents })).totalTokens),
    };
  },
};

const told = {};
for (const [step, act] of Object.entries(await sdks[name]())) {
  try {
    told[step] = await act();
  } catch (error) {
    told[step] = { error: error.constructor.name, status: error.status, message: error.message };
  }
}
console.log(JSON.stringify(told));

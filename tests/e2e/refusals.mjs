// The official Node clients with a key each: `node refusals.mjs FOLDER BASE RETRIES STEP KEY...` says in a line of JSON for each
// key what every client got: for the step `ask` a text, or the error as the client tells it; for `models` their names.
import { createRequire } from "node:module";

const [folder, base, retries, step, ...keys] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { OpenAI } = require("openai");
const { Anthropic } = require("@anthropic-ai/sdk");
const { GoogleGenAI } = require("@google/genai");
const maxRetries = Number(retries);
const content = "say hello";
const messages = [{ role: "user", content }];

async function all(pages, name) {
  const names = [];
  for await (const one of await pages) names.push(one[name]);
  return names;
}

function clients(apiKey) {
  const openai = new OpenAI({ apiKey, maxRetries, baseURL: `${base}/v1` });
  const anthropic = new Anthropic({ apiKey, maxRetries, baseURL: base });
  const genai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl: base, retryOptions: { attempts: maxRetries + 1 } } });
  return {
    openai: {
      ask: async () => (await openai.chat.completions.create({ model: "gpt-4o", messages })).choices[0].message.content,
      models: () => all(openai.models.list(), "id"),
    },
    responses: {
      ask: async () => (await openai.responses.create({ model: "gpt-4o", input: content })).output_text,
      models: async () => [],
    },
    anthropic: {
      ask: async () =>
        (await anthropic.messages.create({ model: "claude-sonnet-4-5", max_tokens: 99, messages })).content[0].text,
      models: () => all(anthropic.models.list(), "id"),
    },
    genai: {
      ask: async () => (await genai.models.generateContent({ model: "gemini-2.5-pro", contents: content })).text,
      models: () => all(genai.models.list(), "name"),
    },
  };
}

function told(error) {
  const { status, code, type, param, message } = error;
  const header = (name) => error.headers?.get?.(name) ?? null;
  const [retryAfter, id] = [header("retry-after"), error.requestID ?? error.request_id ?? null];
  return { raised: error.constructor.name, status, code, type, param, message, body: error.error ?? null, retryAfter, id };
}

for (const key of keys) {
  const came = {};
  for (const [name, steps] of Object.entries(clients(key))) {
    came[name] = await steps[step]().then((got) => ({ got }), told);
  }
  console.log(JSON.stringify(came));
}

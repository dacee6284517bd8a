// The `openai` client, Chat Completions: the accumulator `stream()`, `parse()` and the loop `runTools()`.
import { QUESTION, SYSTEM, TOOLS, result } from "./asked.mjs";

const tools = TOOLS.map(({ name, description, schema }) => ({
  type: "function",
  function: { name, description, parameters: schema },
}));
const opening = [{ role: "system", content: SYSTEM }, { role: "user", content: QUESTION }];

function heard(done, pieces) {
  const [choice] = done.choices;
  const { message } = choice;
  return {
    id: done.id,
    text: message.content ?? "",
    thought: message.reasoning_content ?? "",
    refusal: message.refusal ?? "",
    tools: (message.tool_calls ?? []).map((use) => [use.function.name, JSON.parse(use.function.arguments)]),
    ids: (message.tool_calls ?? []).map((use) => use.id),
    finish: choice.finish_reason,
    tokens: [done.usage?.prompt_tokens, done.usage?.completion_tokens],
    cached: done.usage?.prompt_tokens_details?.cached_tokens ?? 0,
    model: done.model,
    parsed: message.parsed ?? null,
    requestId: done._request_id ?? null,
    pieces,
    cited: (message.annotations ?? []).map((one) => one.url_citation.url),
    said: message,
  };
}

export default function ({ load, base }) {
  const { OpenAI } = load("openai");
  const { zodResponseFormat } = load("openai/helpers/zod");
  const { z } = load("zod");
  const client = new OpenAI({ apiKey: "sk-client", baseURL: `${base}/v1`, maxRetries: 0 });

  async function ask({ model, stream, ...more }) {
    const call = { model, messages: opening, ...more };
    const { completions } = client.chat;
    if (!stream) return heard(await (more.response_format ? completions.parse(call) : completions.create(call)));
    const pieces = [];
    const parts = completions.stream({ ...call, stream_options: { include_usage: true } });
    parts.on("content.delta", ({ delta }) => pieces.push(delta));
    return heard(await parts.finalChatCompletion(), pieces);
  }

  return {
    text: ask,
    async tools({ model, stream, ...more }) {
      const first = await ask({ model, stream, tools, ...more });
      const answered = first.said.tool_calls.map((use, n) => ({
        role: "tool",
        tool_call_id: use.id,
        content: result(use.function.name, n),
      }));
      const messages = [...opening, first.said, ...answered];
      return { first, second: await ask({ model, stream, tools, ...more, messages }) };
    },
    async agent({ model, stream }) {
      const ran = [];
      const runnable = TOOLS.map(({ name, description, schema }) => ({
        type: "function",
        function: {
          name,
          description,
          parameters: schema,
          parse: JSON.parse,
          function: (given) => result(name, ran.push([name, given]) - 1),
        },
      }));
      const runner = client.chat.completions.runTools({ model, stream, messages: opening, tools: runnable });
      return { ran, text: await runner.finalContent() };
    },
    search: (asked) => ask({ ...asked, web_search_options: {} }),
    async structured({ model, stream }) {
      const Weather = z.object({ city: z.string(), days: z.number().int() });
      return ask({ model, stream, response_format: zodResponseFormat(Weather, "weather") });
    },
    image: ({ model, stream, data, mime }) =>
      ask({
        model,
        stream,
        messages: [
          {
            role: "user",
            content: [
              { type: "text", text: QUESTION },
              { type: "image_url", image_url: { url: `data:${mime};base64,${data}` } },
            ],
          },
        ],
      }),
    async completion({ model, stream }) {
      const call = { model, prompt: QUESTION, max_tokens: 50 };
      if (!stream) return { text: (await client.completions.create(call)).choices[0].text };
      let text = "";
      for await (const part of await client.completions.create({ ...call, stream })) text += part.choices[0].text;
      return { text };
    },
    think: (asked) => ask({ ...asked, reasoning_effort: "medium" }),
  };
}

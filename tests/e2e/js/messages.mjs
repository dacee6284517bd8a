// The `@anthropic-ai/sdk` client: the accumulator `messages.stream()`, `parse()` and the loop `beta.messages.toolRunner()`.
import { QUESTION, SYSTEM, TOOLS, result } from "./asked.mjs";

const tools = TOOLS.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
const opening = [{ role: "user", content: QUESTION }];
const joined = (blocks, type, field) =>
  blocks.filter((block) => block.type === type).map((block) => block[field]).join("");

function heard(done, pieces) {
  const uses = done.content.filter((block) => block.type === "tool_use");
  const { usage } = done;
  return {
    id: done.id,
    text: joined(done.content, "text", "text"),
    thought: joined(done.content, "thinking", "thinking"),
    refusal: done.stop_reason === "refusal" ? "refusal" : "",
    tools: uses.map((use) => [use.name, use.input]),
    ids: uses.map((use) => use.id),
    finish: done.stop_reason,
    tokens: [usage.input_tokens + (usage.cache_read_input_tokens ?? 0), usage.output_tokens],
    cached: usage.cache_read_input_tokens ?? 0,
    model: done.model,
    parsed: done.parsed_output ?? null,
    requestId: done._request_id ?? null,
    pieces,
    cited: done.content.flatMap((block) => block.citations ?? []).map((one) => one.url),
    said: done.content.map(({ parsed_output, ...block }) => block),
  };
}

export default function ({ load, base }) {
  const { Anthropic } = load("@anthropic-ai/sdk");
  const { zodOutputFormat } = load("@anthropic-ai/sdk/helpers/zod");
  const { betaTool } = load("@anthropic-ai/sdk/helpers/beta/json-schema");
  const { z } = load("zod");
  const client = new Anthropic({ apiKey: "sk-client", baseURL: base, maxRetries: 0 });

  async function ask({ model, stream, ...more }) {
    const call = { model, max_tokens: 8000, system: SYSTEM, messages: opening, ...more };
    const { messages } = client;
    if (!stream) return heard(await (more.output_config ? messages.parse(call) : messages.create(call)));
    const pieces = [];
    const parts = messages.stream(call);
    parts.on("text", (delta) => pieces.push(delta));
    return heard(await parts.finalMessage(), pieces);
  }

  return {
    text: ask,
    async tools({ model, stream, ...more }) {
      const first = await ask({ model, stream, tools, ...more });
      const answered = first.said
        .filter((block) => block.type === "tool_use")
        .map((use, n) => ({ type: "tool_result", tool_use_id: use.id, content: result(use.name, n) }));
      const messages = [...opening, { role: "assistant", content: first.said }, { role: "user", content: answered }];
      return { first, second: await ask({ model, stream, tools, ...more, messages }) };
    },
    async agent({ model, stream }) {
      const ran = [];
      const runnable = TOOLS.map(({ name, description, schema }) =>
        betaTool({ name, description, inputSchema: schema, run: (given) => result(name, ran.push([name, given]) - 1) }),
      );
      const runner = client.beta.messages.toolRunner({
        model,
        stream,
        max_tokens: 999,
        messages: opening,
        tools: runnable,
      });
      const { content } = await runner;
      return { ran, text: joined(content, "text", "text") };
    },
    search: (asked) => ask({ ...asked, tools: [{ type: "web_search_20250305", name: "web_search" }] }),
    async structured({ model, stream }) {
      const Weather = z.object({ city: z.string(), days: z.number().int() });
      return ask({ model, stream, output_config: { format: zodOutputFormat(Weather) } });
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
              { type: "image", source: { type: "base64", media_type: mime, data } },
            ],
          },
        ],
      }),
    think: (asked) => ask({ ...asked, thinking: { type: "enabled", budget_tokens: 4000 } }),
  };
}

// The `openai` client, Responses: the accumulator `stream()` and `parse()`, with no state at the provider.
import { QUESTION, SYSTEM, TOOLS, result } from "./asked.mjs";

const tools = TOOLS.map(({ name, description, schema }) => ({
  type: "function",
  name,
  description,
  parameters: schema,
  strict: false,
}));
const opening = [{ role: "user", content: QUESTION }];

function heard(done, pieces) {
  const uses = done.output.filter((item) => item.type === "function_call");
  const reasoning = done.output.filter((item) => item.type === "reasoning");
  const content = done.output.filter((item) => item.type === "message").flatMap((item) => item.content);
  return {
    id: done.id,
    text: done.output_text,
    thought: reasoning.flatMap((item) => item.summary.map((one) => one.text)).join(""),
    refusal: content.map((part) => part.refusal ?? "").join(""),
    tools: uses.map((use) => [use.name, JSON.parse(use.arguments)]),
    ids: uses.map((use) => use.call_id),
    finish: done.incomplete_details?.reason ?? done.status,
    tokens: [done.usage?.input_tokens, done.usage?.output_tokens],
    cached: done.usage?.input_tokens_details?.cached_tokens ?? 0,
    model: done.model,
    parsed: done.output_parsed ?? null,
    error: done.error,
    requestId: done._request_id ?? null,
    pieces,
    cited: content.flatMap((part) => part.annotations ?? []).map((one) => one.url),
    said: done.output,
  };
}

export default function ({ load, base }) {
  const { OpenAI } = load("openai");
  const { zodTextFormat } = load("openai/helpers/zod");
  const { z } = load("zod");
  const client = new OpenAI({ apiKey: "sk-client", baseURL: `${base}/v1`, maxRetries: 0 });

  async function ask({ model, stream, ...more }) {
    const call = { model, input: opening, instructions: SYSTEM, store: false, ...more };
    call.include = ["reasoning.encrypted_content"];
    if (!stream) return heard(await client.responses.parse(call));
    const pieces = [];
    const parts = client.responses.stream(call);
    parts.on("response.output_text.delta", ({ delta }) => pieces.push(delta));
    return heard(await parts.finalResponse(), pieces);
  }

  return {
    text: ask,
    async tools({ model, stream, ...more }) {
      const first = await ask({ model, stream, tools, ...more });
      const answered = first.said
        .filter((item) => item.type === "function_call")
        .map((use, n) => ({ type: "function_call_output", call_id: use.call_id, output: result(use.name, n) }));
      const said = first.said.map(({ parsed_arguments, ...item }) => item);
      return { first, second: await ask({ model, stream, tools, ...more, input: [...opening, ...said, ...answered] }) };
    },
    search: (asked) => ask({ ...asked, tools: [{ type: "web_search" }] }),
    async structured({ model, stream }) {
      const Weather = z.object({ city: z.string(), days: z.number().int() });
      return ask({ model, stream, text: { format: zodTextFormat(Weather, "weather") } });
    },
    async socket({ model }) {
      const { ResponsesWS } = load("openai/resources/responses/ws");
      const socket = new ResponsesWS(client);
      const events = socket.stream();
      async function turn(more) {
        socket.send({ type: "response.create", model, tools, store: false, ...more });
        let delta = "";
        for (;;) {
          const { value: event } = await events.next();
          if (event.type === "error") throw event.error;
          const { type, response, ...rest } = event.message ?? {};
          if (type === "response.output_text.delta") delta += rest.delta;
          if (type === "response.completed") return { ...response, delta };
        }
      }
      const first = await turn({ input: opening });
      const answered = first.output
        .filter((item) => item.type === "function_call")
        .map((use, n) => ({ type: "function_call_output", call_id: use.call_id, output: result(use.name, n) }));
      const { delta } = await turn({ input: answered, previous_response_id: first.id });
      socket.close();
      return { text: delta };
    },
    image: ({ model, stream, data, mime }) =>
      ask({
        model,
        stream,
        input: [
          {
            role: "user",
            content: [
              { type: "input_text", text: QUESTION },
              { type: "input_image", image_url: `data:${mime};base64,${data}`, detail: "auto" },
            ],
          },
        ],
      }),
    think: (asked) => ask({ ...asked, reasoning: { effort: "medium", summary: "auto" } }),
  };
}

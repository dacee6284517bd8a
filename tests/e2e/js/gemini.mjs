// The `@google/genai` client: `generateContent`, its stream, `chats` with automatic function calling.
import { QUESTION, SYSTEM, TOOLS, result } from "./asked.mjs";

const declared = TOOLS.map(({ name, description, schema }) => ({ name, description, parametersJsonSchema: schema }));
const tools = [{ functionDeclarations: declared }];
const user = (parts) => ({ role: "user", parts });
const opening = [user([{ text: QUESTION }])];

function heard(replies, pieces) {
  const candidates = replies.flatMap((reply) => reply.candidates ?? []);
  const parts = candidates.flatMap((one) => one.content?.parts ?? []);
  const uses = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
  const usage = replies.findLast((reply) => reply.usageMetadata)?.usageMetadata ?? {};
  const blocked = replies.find((reply) => reply.promptFeedback)?.promptFeedback?.blockReason;
  const text = parts.filter((part) => !part.thought).map((part) => part.text ?? "").join("");
  return {
    id: replies[0].responseId,
    text,
    thought: parts.filter((part) => part.thought).map((part) => part.text ?? "").join(""),
    refusal: blocked ?? "",
    tools: uses.map((use) => [use.name, use.args ?? {}]),
    ids: uses.map((use) => use.id),
    finish: candidates.findLast((one) => one.finishReason)?.finishReason ?? blocked,
    tokens: [usage.promptTokenCount, (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0)],
    cached: usage.cachedContentTokenCount ?? 0,
    model: replies.at(-1).modelVersion,
    parsed: text.startsWith("{") ? JSON.parse(text) : null,
    pieces,
    cited: candidates.flatMap((one) => one.groundingMetadata?.groundingChunks ?? []).map((one) => one.web.uri),
    said: parts,
  };
}

export default function ({ load, base }) {
  const { GoogleGenAI } = load("@google/genai");
  const client = new GoogleGenAI({ apiKey: "sk-client", httpOptions: { baseUrl: base } });

  async function ask({ model, stream, contents = opening, ...config }) {
    const call = { model, contents, config: { systemInstruction: SYSTEM, ...config } };
    if (!stream) return heard([await client.models.generateContent(call)]);
    const replies = [];
    for await (const reply of await client.models.generateContentStream(call)) replies.push(reply);
    return heard(replies, replies.map((reply) => reply.text ?? "").filter((text) => text));
  }

  return {
    text: ask,
    async tools({ model, stream, ...more }) {
      const first = await ask({ model, stream, tools, ...more });
      const answered = first.said
        .filter((part) => part.functionCall)
        .map(({ functionCall: { id, name } }, n) => ({
          functionResponse: { id, name, response: { output: result(name, n) } },
        }));
      const contents = [...opening, { role: "model", parts: first.said }, user(answered)];
      return { first, second: await ask({ model, stream, tools, ...more, contents }) };
    },
    async agent({ model, stream }) {
      const ran = [];
      const callable = {
        tool: async () => tools[0],
        callTool: async (calls) =>
          calls.map(({ id, name, args }) => ({
            functionResponse: { id, name, response: { output: result(name, ran.push([name, args]) - 1) } },
          })),
      };
      const chat = client.chats.create({ model, config: { tools: [callable] } });
      if (!stream) return { ran, text: (await chat.sendMessage({ message: QUESTION })).text };
      let text = "";
      for await (const reply of await chat.sendMessageStream({ message: QUESTION })) text += reply.text ?? "";
      return { ran, text };
    },
    search: (asked) => ask({ ...asked, tools: [{ googleSearch: {} }] }),
    structured: ({ model, stream }) =>
      ask({
        model,
        stream,
        responseMimeType: "application/json",
        responseSchema: {
          type: "OBJECT",
          properties: { city: { type: "STRING" }, days: { type: "INTEGER" } },
          required: ["city", "days"],
          propertyOrdering: ["city", "days"],
        },
      }),
    image: ({ model, stream, data, mime }) =>
      ask({ model, stream, contents: [user([{ text: QUESTION }, { inlineData: { mimeType: mime, data } }])] }),
    think: (asked) => ask({ ...asked, thinkingConfig: { thinkingBudget: 4000, includeThoughts: true } }),
  };
}

// What every client is asked, whatever its API.
export const QUESTION = "What is the weather?";
export const SYSTEM = "You are a weatherman.";
export const WEATHER = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city"],
};
export const TOOLS = [
  { name: "weather", description: "The weather of a city", schema: WEATHER },
  { name: "now", description: "What time it is", schema: { type: "object", properties: {} } },
];

// What a tool gives: the n-th call's result.
export const result = (name, n) => `${name} ${n}`;

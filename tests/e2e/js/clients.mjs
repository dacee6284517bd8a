// `node clients.mjs FOLDER BASE` reads asked steps from its input, a JSON line each: [number, {client, step, ...}], and
// says what came of each in a line of its own: [number, what was heard or the client's error]. The packages are in
// FOLDER/node_modules.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, base] = process.argv.slice(2);
const load = createRequire(`${folder}/package.json`);
const clients = {};

async function take({ client, step, ...asked }) {
  clients[client] ??= (await import(`./${client}.mjs`)).default({ load, base });
  return clients[client][step](asked);
}

function told(error) {
  const header = (name) => error.headers?.get?.(name) ?? null;
  return {
    raised: error.constructor.name,
    is: error.name,
    status: error.status ?? null,
    message: error.message,
    type: error.type ?? null,
    retryAfter: header("retry-after"),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const [number, asked] = JSON.parse(line);
  const heard = await take(asked).catch(told);
  process.stdout.write(`${JSON.stringify([number, heard])}\n`);
}

// openai for Node: chat, completions and responses.
import OpenAI from "openai";

const { text, sampling } = JSON.parse(process.argv.at(-1));
const client = new OpenAI({ maxRetries: 0 });
const model = "smollm2";
const messages = [{ role: "user", content: text }];
const { max_tokens, ...sampled } = sampling;

const chat = (changes = {}) =>
  client.chat.completions.create({ model, messages, ...sampling, ...changes });

const failure = async (call) => {
  try {
    await call();
  } catch (error) {
    return { kind: error.constructor.name, message: error.message };
  }
};

const pieces = [];
for await (const chunk of await chat({ stream: true })) pieces.push(chunk.choices[0].delta.content);

const stream = client.chat.completions.stream({ model, messages, ...sampling });
const asked = { model, input: text, max_output_tokens: max_tokens, ...sampled };
const following = client.responses.stream(asked);
const animal = {
  type: "object",
  properties: { name: { type: "string", maxLength: 20 }, legs: { type: "integer" } },
  required: ["name", "legs"],
  additionalProperties: false,
};
const structured = await chat({
  max_tokens: 60,
  response_format: { type: "json_schema", json_schema: { name: "animal", schema: animal } },
});
const tools = [{ type: "function", function: { name: "animal", parameters: animal } }];
const calling = client.chat.completions.stream({
  model,
  messages,
  ...sampling,
  max_tokens: 60,
  tools,
  tool_choice: "required",
});
const [call] = (await calling.finalChatCompletion()).choices[0].message.tool_calls;

console.log(
  JSON.stringify({
    whole: (await chat()).choices[0].message.content,
    streamed: pieces.join(""),
    pieces: pieces.filter(Boolean).length,
    put_together: (await stream.finalChatCompletion()).choices[0].message.content,
    responses: (await client.responses.create(asked)).output_text,
    responses_streamed: (await following.finalResponse()).output_text,
    continued: (await client.completions.create({ model, prompt: text, ...sampling })).choices[0].text,
    structured: JSON.parse(structured.choices[0].message.content),
    called: JSON.parse(call.function.arguments),
    wrong: await failure(() => chat({ temperature: 5 })),
    too_long: await failure(() => chat({ messages: [{ role: "user", content: text.repeat(400) }] })),
  }),
);

// Vercel's AI SDK: @ai-sdk/openai-compatible for chat and completions, @ai-sdk/openai for responses.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

const { text, sampling } = JSON.parse(process.argv.at(-1));
const baseURL = process.env.OPENAI_BASE_URL;
const local = createOpenAICompatible({
  name: "minivault",
  baseURL,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const responses = createOpenAI()("smollm2");
const { max_tokens: maxOutputTokens, temperature, seed } = sampling;
const asked = { prompt: text, maxOutputTokens, temperature, seed, maxRetries: 0 };
const chat = (changes = {}) => generateText({ model: local("smollm2"), ...asked, ...changes });

const failure = async (call) => {
  try {
    await call();
  } catch (error) {
    return { kind: error.name, message: error.message };
  }
};

const pieces = [];
const streaming = streamText({ model: local("smollm2"), ...asked });
for await (const piece of streaming.textStream) pieces.push(piece);
const greedy = { ...asked, temperature: 0, seed: undefined };
const following = streamText({ model: responses, ...greedy });
const animal = z.object({ name: z.string(), legs: z.number().int() });
const output = Output.object({ schema: animal });
const tools = { animal: tool({ inputSchema: animal }) };
const called = { prompt: "A cat.", maxOutputTokens: 80, tools, toolChoice: "required" };
const calling = streamText({ model: local("smollm2"), ...asked, ...called });

console.log(
  JSON.stringify({
    whole: (await chat()).text,
    streamed: pieces.join(""),
    pieces: pieces.length,
    used: (await streaming.usage).outputTokens,
    greedy: (await generateText({ model: responses, ...greedy })).text,
    greedy_streamed: await following.text,
    structured: (await chat({ prompt: "A cat.", maxOutputTokens: 80, output })).output,
    called: (await chat(called)).toolCalls[0].input,
    called_streamed: (await calling.toolCalls)[0].input,
    wrong: await failure(() => chat({ temperature: 5 })),
    too_long: await failure(() => chat({ prompt: text.repeat(400) })),
  }),
);

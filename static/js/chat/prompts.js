/** A few good first prompts for each kind of model. Pure. */

const STORIES = [
  "Once upon a time, in a house by the sea, there lived",
  "The old clockmaker opened the little door and",
  "“Who has been sleeping here?” said the fox,",
  "When the snow had melted, the children found",
];

const TEXTS = [
  "The history of the lighthouse begins",
  "Yesterday morning, two hikers reported that",
  "To bake good bread, you first need",
  "Dear editor, I am writing to you because",
];

const QUESTIONS = [
  "Explain in three sentences why the sky is blue.",
  "Write a short poem about rain on a tin roof.",
  "Give me five names for a small sailing boat.",
  "Summarise the idea of a hash chain for a child.",
];

/**
 * @param {{model: string, chat: boolean}} server
 * @returns {string[]}
 */
export function firstPrompts({ model, chat }) {
  if (chat) return QUESTIONS;
  return model === "storyteller" ? STORIES : TEXTS;
}

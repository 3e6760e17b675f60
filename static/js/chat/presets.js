/** Sets of parameters with a name. Pure. */

/** @type {Record<string, Record<string, number>>} whatever a preset leaves out has its default */
export const PRESETS = {
  precise: { temperature: 0.3, top_k: 40, top_p: 0.9, repetition_penalty: 1.15 },
  balanced: {},
  creative: { temperature: 1.1, top_k: 200, top_p: 0.98, repetition_penalty: 1.05 },
};

const FIELDS = ["temperature", "top_k", "top_p", "repetition_penalty"];

/**
 * @param {string} name
 * @param {Record<string, any>} defaults
 * @returns {Record<string, any>} what the preset sets
 */
export function presetValues(name, defaults) {
  const values = Object.fromEntries(FIELDS.map((field) => [field, PRESETS[name][field] ?? defaults[field]]));
  // Precise is never wilder than the model's own, creative never tamer.
  const further = { precise: Math.min, creative: Math.max }[name];
  return further ? { ...values, temperature: further(values.temperature, defaults.temperature) } : values;
}

/**
 * @param {Record<string, any>} values
 * @param {Record<string, any>} defaults
 * @returns {string} the preset that they are, or ""
 */
export function presetOf(values, defaults) {
  const same = (/** @type {string} */ name) =>
    Object.entries(presetValues(name, defaults)).every(([field, value]) => values[field] === value);
  return Object.keys(PRESETS).find(same) ?? "";
}

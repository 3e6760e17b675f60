"""Any causal language model that transformers knows, one sequence at a time, on any device."""

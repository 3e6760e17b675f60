"""The arithmetic of GPT-2 in C, compiled on the machine that runs it, for that machine."""

"""Conversations: a chat template, rendered in a process of its own, and what stands where in it."""

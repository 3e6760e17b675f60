"""OpenAI's routes, for the clients that people have: each choice is a generation like any other."""

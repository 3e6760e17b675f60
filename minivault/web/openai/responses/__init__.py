"""The Responses interface: answers that are kept, go on from each other, and are read later."""

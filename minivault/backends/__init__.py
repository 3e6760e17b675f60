"""Where text comes from: one async generator per request."""

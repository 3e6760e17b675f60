"""Speed: of MiniVault alone, beside others, and of what the server adds to the engine."""

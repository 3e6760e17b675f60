"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# No timing in tests: a busy machine must not turn one red. Every run tries the same examples.
settings.register_profile("minivault", deadline=None, derandomize=True)
settings.load_profile("minivault")

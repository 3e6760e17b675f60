"""From a model's files to its description, whatever family and format it is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minivault.engine.native import gpt2
from minivault.engine.native.checkpoint import open_checkpoint
from minivault.engine.native.description import Description
from minivault.engine.native.families import plan_of
from minivault.engine.runner import USUAL_CONTEXT


def describe(path: Path, context: int | None = None, tokens: int | None = None) -> Description:
    """Of a folder, or of a GGUF file, for texts of up to `context` tokens.

    None: as many as the model can, but no more than usual. `tokens`: so many of its ids may be
    drawn. Raises Unsupported for what is not known, ModelUnusable for files that are wrong.
    """
    source = open_checkpoint(path)
    plan = plan_of(source.config)
    if plan is None:
        found = gpt2.describe(source, context)
    else:
        usual = plan.default_context(USUAL_CONTEXT)
        found = plan.describe(source, min(context, plan.longest) if context else usual)
    return replace(found, head=found.head[:tokens])

"""From a checkpoint to its description, whatever family it is of."""

from __future__ import annotations

from dataclasses import replace

from minivault.engine.native import gpt2
from minivault.engine.native.checkpoint import Checkpoint
from minivault.engine.native.description import Description
from minivault.engine.native.families import plan_of
from minivault.engine.native.groups import Groups
from minivault.engine.native.language_part import language_part
from minivault.engine.runner import USUAL_CONTEXT


def describe(
    source: Checkpoint, context: int | None = None, tokens: int | None = None
) -> Description:
    """For texts of up to `context` tokens; None: as many as the model can, but no more than usual.

    `tokens`: so many of its ids may be drawn. Raises Unsupported for what is not known,
    ModelUnusable for files that are wrong.
    """
    source = language_part(source)
    plan = plan_of(source.config)
    if plan is None:
        found = gpt2.describe(source, context)
    else:
        usual = plan.default_context(USUAL_CONTEXT)
        found = plan.describe(source, min(context, plan.longest) if context else usual)
    head, kept = found.head, slice(tokens)
    return replace(found, head=head.rows(kept) if isinstance(head, Groups) else head[kept])

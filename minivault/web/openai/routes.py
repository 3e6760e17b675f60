"""All routes of OpenAI's interface, and what is told at addresses where clients look in vain."""

from __future__ import annotations

from minivault.web.openai import completions, following, misplaced, models, tokens
from minivault.web.openai.responses import routes as responses

described = [
    *models.routes,
    *completions.routes,
    *following.routes,
    *responses.routes,
    *tokens.routes,
]
undescribed = [models.with_slashes, *misplaced.routes]

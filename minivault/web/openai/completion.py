"""POST /v1/completions: what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from minivault.backends.base import ModelInfo
from minivault.errors import FieldError, InvalidRequest
from minivault.text_request import Call
from minivault.web.openai.asked import Asked, Choice, check_count, key_of, limit, text_request
from minivault.web.openai.fields import Fields, read

DOOR = "openai.completions"
EXAMPLE = '{"prompt": "Once upon a time"}'
DEFAULT_TOKENS = 16  # OpenAI's

_PROMPT = "must be a string, a list of strings, a list of token ids, or a list of such lists"
_RIGHT = {
    "prompt": _PROMPT,
    "logprobs": "must be a whole number from 0 to 20: how many alternatives to tell",
    "echo": "must be true or false",
    "best_of": "must be absent or the same as n: texts are not ranked",
}


class CompletionFields(Fields):
    """The body. `prompt` is looked at apart: it has four forms."""

    prompt: Any = None
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool = False
    best_of: int | None = None


def read_completion(
    data: Mapping[str, Any], info: ModelInfo, most_choices: int, key: str | None
) -> tuple[CompletionFields, Asked]:
    """The fields, and what they come to. Raises InvalidRequest."""
    fields, ignored = read(data, CompletionFields, _RIGHT)
    if fields.best_of not in (None, fields.n):
        raise InvalidRequest([FieldError("best_of", _RIGHT["best_of"])])
    given = fields.prompt
    if given is None or isinstance(given, str):
        given = [given or ""]
    elif not isinstance(given, list) or not given:
        raise InvalidRequest([FieldError("prompt", _PROMPT)])
    elif _are_tokens(given):
        given = [given]
    # An empty one is the token that texts begin with.
    prompts = [_one(each) for each in given]
    check_count(fields.n * len(prompts), most_choices)
    most = limit([fields.max_tokens], DEFAULT_TOKENS, info.context_length)
    scores = fields.echo and fields.logprobs is not None
    if most == 0 and not scores:
        message = "must be at least 1, or 0 with echo and logprobs; -1 is no limit"
        raise InvalidRequest([FieldError("max_tokens", message)])
    values = fields.sampling(info.defaults) | {
        "max_tokens": most,
        "logprobs": fields.logprobs is not None,
        "top_logprobs": fields.logprobs or 0,
        "prompt_logprobs": scores,
    }
    choices = []
    # A prompt in a list has the seeds that it would have alone.
    for index, seed in enumerate(fields.seeds(fields.n) * len(prompts)):
        own = prompts[index // fields.n] | {"seed": seed, "key": key_of(key, index)}
        call = Call(DOOR, index, None, ignored, fields.private)
        choices.append(Choice(text_request(values | own), call))
    return fields, Asked(choices, fields.stream, fields.wants_usage, ignored, fields.echo)


def _one(prompt: Any) -> dict[str, Any]:
    if isinstance(prompt, str):
        return {"prompt": prompt} if prompt else {"tokens": []}
    if isinstance(prompt, list) and _are_tokens(prompt):
        return {"tokens": prompt}
    raise InvalidRequest([FieldError("prompt", _PROMPT)])


def _are_tokens(value: list[Any]) -> bool:
    return all(type(each) is int and 0 <= each < 2**31 for each in value)

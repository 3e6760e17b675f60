"""What OpenAI-compatible servers call things, and which of them they know: one dialect for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.backends.base import Rendered, Request

_UNSTEERED = ("min_p", "frequency_penalty", "presence_penalty", "logit_bias")


@dataclass(frozen=True, slots=True)
class Dialect:
    """`seeds` is how many there are, `penalty` what a repetition penalty is called, `no_top_k` what
    turns it off (None: leaving it out). `counts` is where the tokens of a text are counted, and
    the field it goes in; `counts_chats` whether those of a conversation are, too. `open_answers`
    are the fields by which a conversation that ends with the assistant goes on in that message;
    None if it does not. `logprobs` says of what they are.
    """

    seeds: int
    penalty: str = "repetition_penalty"
    no_top_k: int | None = 0
    counts: tuple[str, str] | None = None
    counts_chats: bool = False
    open_answers: Mapping[str, Any] | None = None
    extras: Mapping[str, Any] | None = None
    logprobs: str = "as the server tells them"


#: llama.cpp takes 32 bits, and the highest of them as a wish for a random seed.
_32_BITS = 2**32 - 1
_RAW = "before temperature and penalties, unless the server is told otherwise"

DIALECTS = {
    "vllm": Dialect(
        _32_BITS,
        no_top_k=-1,
        counts=("/tokenize", "prompt"),
        counts_chats=True,
        open_answers={"continue_final_message": True, "add_generation_prompt": False},
        extras={"return_token_ids": True},
        logprobs=_RAW,
    ),
    "minivault": Dialect(
        2**53,
        counts=("/tokenize", "prompt"),
        counts_chats=True,
        open_answers={},
        logprobs="of the model's own distribution",
    ),
    "llama.cpp": Dialect(
        _32_BITS,
        penalty="repeat_penalty",
        counts=("/tokenize", "content"),
        open_answers={},
        # What a model thinks is part of its text.
        extras={"reasoning_format": "none"},
        logprobs=_RAW,
    ),
    "llama-cpp-python": Dialect(
        _32_BITS,
        penalty="repeat_penalty",
        counts=("/extras/tokenize/count", "input"),
        logprobs=_RAW,
    ),
    "other": Dialect(_32_BITS, no_top_k=None),
}

_OWNERS = {
    "vllm": "vllm",
    "llamacpp": "llama.cpp",
    "me": "llama-cpp-python",
    "minivault": "minivault",
}


def kind_of(model: Mapping[str, Any]) -> str:
    """Whose server it is, by what it says of its model."""
    return _OWNERS.get(str(model.get("owned_by", "")).lower(), "other")


def completion(
    kind: str, model: str, request: Request, prompt: str | list[int], told: int
) -> tuple[str, dict[str, Any]]:
    """Where to ask for the rest of a text, of which `told` tokens are in the prompt; and the body.

    What a request does not want is left out, so that a server that does not know a field refuses
    only those who need it.
    """
    dialect, params = DIALECTS[kind], request.params
    chat = isinstance(prompt, Rendered)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_tokens - told,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "seed": (request.seed + told) % dialect.seeds,
        "stream": True,
        "stream_options": {"include_usage": True},
        **(dialect.extras or {}),
    }
    if isinstance(prompt, Rendered):
        body |= conversation(dialect, prompt)
    else:
        body["prompt"] = prompt
    if (top_k := params.top_k or dialect.no_top_k) is not None:
        body["top_k"] = top_k
    if params.repetition_penalty != 1 or kind != "other":
        body[dialect.penalty] = params.repetition_penalty
    body |= {name: value for name in _UNSTEERED if (value := getattr(params, name))}
    if params.logprobs or params.top_logprobs:
        # Of one at least: servers take 0 for none, or for the drawn token alone.
        most = max(1, params.top_logprobs)
        body |= {"logprobs": True, "top_logprobs": most} if chat else {"logprobs": most}
    return f"/v1/{'chat/' if chat else ''}completions", body


def conversation(dialect: Dialect, prompt: Rendered) -> dict[str, Any]:
    """The fields of a conversation."""
    told = [
        {name: value for name, value in each.items() if name != "at"} for each in prompt.messages
    ]
    is_open = told[-1]["role"] == "assistant"
    return {"messages": told, **(dialect.open_answers or {} if is_open else {})}


def counted(dialect: Dialect, model: str, prompt: str) -> dict[str, Any] | None:
    """What goes to `dialect.counts`; None if that cannot count this."""
    if isinstance(prompt, Rendered):
        return {"model": model} | conversation(dialect, prompt) if dialect.counts_chats else None
    return {"model": model, dialect.counts[1]: prompt} if dialect.counts else None

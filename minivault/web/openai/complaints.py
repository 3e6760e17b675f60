"""What is told of a wrong field: one sentence that says what is right."""

from __future__ import annotations

from collections.abc import Mapping

from minivault.errors import FieldError
from minivault.web.openai.formats import RIGHT as FORMATS

MOST_STOPS = 8

RIGHT: dict[str, str] = {
    "model": "must be the name of a model, as GET /v1/models lists it",
    "temperature": "must be a number from 0 to 2; 0 always takes the likeliest token",
    "top_p": "must be a number from 0 to 1; 0 always takes the likeliest token",
    "top_k": "must be a whole number from 0 to 1000; 0 is off",
    "min_p": "must be a number from 0 to 1; 0 is off",
    "repetition_penalty": "must be a number from 1 to 2; 1 is off",
    "frequency_penalty": "must be a number from -2 to 2; 0 is off",
    "presence_penalty": "must be a number from -2 to 2; 0 is off",
    "logit_bias": "must be an object of token ids, each with a number from -100 to 100",
    "seed": "must be a whole number of 64 bits; -1 draws one",
    "n": "must be a whole number, at least 1",
    "max_tokens": "must be a whole number, at least 1; -1 is no limit",
    "max_completion_tokens": "must be a whole number, at least 1; -1 is no limit",
    "max_output_tokens": "must be a whole number, at least 1",
    "stop": f"must be a string, or a list of up to {MOST_STOPS} strings of up to 1000 characters",
    "stream": "must be true or false",
    "stream_options": 'must be an object such as {"include_usage": true}',
    "stream_options.include_usage": "must be true or false",
    "top_logprobs": "must be a whole number from 0 to 20",
    "metadata": "must be an object of up to 16 strings of up to 512 characters, with names of up "
    "to 64",
    "user": "must be a string",
    "response_format": FORMATS,
}


def in_our_words(errors: list[FieldError], right: Mapping[str, str]) -> list[FieldError]:
    """One for each field: of one with several forms pydantic tells what is wrong with each."""
    told: dict[str, FieldError] = {}
    for error in errors:
        parts = error.field.split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(each for each in parts[:length] if not each.isdigit())
            if name in right:
                place = ".".join(parts[:length]) if name.startswith("messages") else name
                error = FieldError(place, right[name])
                break
        told.setdefault(error.field, error)
    return list(told.values())

"""Texts that have to be JSON, or calls with JSON in them: which tokens may come, by llguidance.

A mask is a pure function of the schema and of the tokens so far, so that a text that is made again
is constrained again in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from minivault.engine.call_grammar import call_grammar
from minivault.engine.likeliest import Row

LONGEST = 2**16
"""Characters of a schema."""

DEEPEST = 64
"""Levels of a schema."""

# One way to write each value: small models would go on with blanks for ever.
_FORM: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class BadSchema(ValueError):
    """The schema cannot be followed. The message says why, on one line."""


class Grammars:
    """What a tokenizer's texts can be held to. Any thread; the first use takes its time."""

    def __init__(self, tokenizer: str, end_ids: Iterable[int]) -> None:
        """`tokenizer`: as tokenizer.json has it."""
        self._source = tokenizer
        self._end_ids = sorted(end_ids)
        self._turn = Lock()
        self._tokenizer: LLTokenizer | None = None

    def constraint(self, format: Mapping[str, Any]) -> Constraint:
        """For one text. `format`: `{"type": "json_object"}`, or `json_schema` and the `schema`; or
        `calls`, see `Tokenizer.call_format`.

        Raises BadSchema.
        """
        if format["type"] == "calls":
            for tool in format["tools"]:
                try:
                    self._of_schema(tool["parameters"])
                except BadSchema as error:
                    raise BadSchema(f"the parameters of {tool['name']}: {error}") from error
            if text := format.get("text"):
                self.constraint(text)
            grammar = LLMatcher.grammar_from_lark(call_grammar(format, _FORM))
        else:
            schema = format["schema"] if format["type"] == "json_schema" else {"type": "object"}
            grammar = self._of_schema(schema)
        tokenizer = self._tokens()
        if why := LLMatcher.validate_grammar(grammar, tokenizer):
            raise BadSchema(_one_line(why))
        return Constraint(LLMatcher(tokenizer, grammar, log_level=0), tokenizer.vocab_size)

    def _of_schema(self, schema: Any) -> str:
        """The grammar of a schema that can be followed. Raises BadSchema."""
        written = json.dumps(schema)
        if len(written) > LONGEST or _depth(schema) > DEEPEST:
            raise BadSchema(f"it has more than {LONGEST} characters or {DEEPEST} levels")
        try:
            grammar = LLMatcher.grammar_from_json_schema(written, overrides=_FORM)
        except ValueError as error:
            raise BadSchema(_one_line(str(error))) from error
        if why := LLMatcher.validate_grammar(grammar, self._tokens()):
            raise BadSchema(_one_line(why))
        return str(grammar)

    def _tokens(self) -> LLTokenizer:
        with self._turn:
            if self._tokenizer is None:
                ends = self._end_ids or None
                self._tokenizer = LLTokenizer(self._source, eos_token=ends)
            return self._tokenizer


class Constraint:
    """Holds one text to its grammar. Used by the engine's thread alone."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._mask = allocate_token_bitmask(1, vocabulary)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())

    def apply(self, row: Row) -> None:
        """Makes what may not come next impossible, in place. Raises ArithmeticError."""
        fill_next_token_bitmask(self._matcher, self._mask)
        self._check()
        allowed = np.unpackbits(self._mask.view(np.uint8)[0], bitorder="little")[: len(row)]
        row[len(allowed) :] = -np.inf
        row[: len(allowed)][allowed == 0] = -np.inf

    def accept(self, token: int) -> None:
        """Goes on behind a token. Raises ArithmeticError for one that was not allowed."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """Its errors are states, not exceptions."""
        if self._matcher.is_error():
            raise ArithmeticError("the text cannot be held to its schema any more")


def _depth(value: Any) -> int:
    """How deep it is, as far as that matters."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        depth += 1
        level = [item for each in level for item in _within(each)]
    return depth


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]

"""What a request may be: strict JSON, query parameters, and errors that quote nothing."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minivault.errors import FieldError, InvalidRequest, MalformedRequest, MiniVaultError
from minivault.parsing import parse_body, parse_parameters, parse_query
from minivault.schemas import MAX_SEED, GenerateRequest

#: A busy machine is no reason to fail.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HELLO = '{"prompt": "Hello"%s}'


def fields_of(error: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return [each.field for each in error.value.errors]


# ---- the body -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Hello",
        b"null",
        b'"Hello"',
        b'["Hello"]',
        b'{"prompt": "Hello"',
        b'{"prompt": "Hello"} {}',
        b"{'prompt': 'Hello'}",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"prompt": "Hello"}',
        '{"prompt": "Hello"}'.encode("utf-16"),
        '{"prompt": "Hello"}'.encode("utf-32-le"),
        b"[" * 100_000,
        b'{"prompt": "Hello", "seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": "a\nb"}',
    ],
    ids=lambda body: body[:24],
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_body(body)


@pytest.mark.parametrize(
    "body, field",
    [
        (HELLO % ', "prompt": "Hi"', "prompt"),
        (HELLO % ', "max_tokens": 1, "max_tokens": 1', "max_tokens"),
        ('{"prompt": "\\ud800"}', "prompt"),
        ('{"prompt": ""}', "prompt"),
        ('{"prompt": 5}', "prompt"),
        ('{"prompt": ["Hello"]}', "prompt"),
        (HELLO % ', "max_tokens": "5"', "max_tokens"),
        (HELLO % ', "max_tokens": 5.0', "max_tokens"),
        (HELLO % ', "max_tokens": true', "max_tokens"),
        (HELLO % ', "max_tokens": 0', "max_tokens"),
        (HELLO % ', "max_tokens": null', "max_tokens"),
        (HELLO % ', "temperature": 1e999', "temperature"),
        (HELLO % ', "temperature": NaN', "temperature"),
        (HELLO % ', "temperature": -Infinity', "temperature"),
        (HELLO % ', "temperature": 2.1', "temperature"),
        (HELLO % ', "temperature": -0.1', "temperature"),
        (HELLO % ', "top_k": 1001', "top_k"),
        (HELLO % ', "top_k": -1', "top_k"),
        (HELLO % ', "top_p": 0', "top_p"),
        (HELLO % ', "top_p": 1.01', "top_p"),
        (HELLO % ', "repetition_penalty": 0.9', "repetition_penalty"),
        (HELLO % ', "seed": -1', "seed"),
        (HELLO % f', "seed": {MAX_SEED + 1}', "seed"),
        (HELLO % ', "stop": "end"', "stop"),
        (HELLO % ', "stop": [""]', "stop.0"),
        (HELLO % ', "stop": ["\\ud800"]', "stop.0"),
        (HELLO % ', "stop": ["1","2","3","4","5","6","7","8","9"]', "stop"),
        (HELLO % ', "key": "short"', "key"),
        (HELLO % ', "key": "with space"', "key"),
        (HELLO % ', "key": "12345678\\n"', "key"),
        (HELLO % ', "top_logprobs": 21', "top_logprobs"),
        (HELLO % ', "max_token": 5', "max_token"),
        (HELLO % ', "max_new_tokens": 0', "max_new_tokens"),
        (HELLO % ', "max_tokens": 1, "max_new_tokens": 1', "max_new_tokens"),
    ],
)
def test_a_wrong_field_is_named(body: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_body(body.encode())
    assert fields_of(error) == [field]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_body((HELLO % ', "top_k": -1, "top_p": 7, "nope": 1').encode())
    assert sorted(fields_of(error)) == ["nope", "top_k", "top_p"]


def test_the_defaults_are_the_contract() -> None:
    request = parse_body(b'{"prompt": "Hello"}')
    assert request.model_dump() == {
        "prompt": "Hello",
        "messages": None,
        "max_tokens": 128,
        "temperature": 0.8,
        "top_k": 50,
        "top_p": 0.95,
        "repetition_penalty": 1.1,
        "stop": [],
        "seed": None,
        "top_logprobs": 0,
        "end_at_sentence": False,
        "key": None,
    }


def test_whole_numbers_are_fine_for_fractions() -> None:
    request = parse_body((HELLO % ', "temperature": 1, "top_p": 1').encode())
    assert (request.temperature, request.top_p) == (1.0, 1.0)


def test_max_new_tokens_is_another_name_for_max_tokens() -> None:
    assert parse_body((HELLO % ', "max_new_tokens": 7').encode()).max_tokens == 7


@pytest.mark.parametrize("prompt", ["\0", "\r\n", "\u2028", "\ufeff", "🧚‍♀️", "日本", " "])
def test_every_character_may_be_in_a_prompt(prompt: str) -> None:
    assert parse_body(json.dumps({"prompt": prompt}).encode()).prompt == prompt


def test_the_largest_seed_is_exact_in_every_client() -> None:
    assert parse_body((HELLO % f', "seed": {MAX_SEED}').encode()).seed == 9007199254740991


@UNHURRIED
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_else(body: bytes) -> None:
    with suppress(MalformedRequest, InvalidRequest):
        parse_body(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=4,
)


@UNHURRIED
@given(st.dictionaries(st.sampled_from(sorted(GenerateRequest.model_fields)), json_values))
def test_no_json_makes_it_raise_anything_else(data: dict[str, Any]) -> None:
    with suppress(MalformedRequest, InvalidRequest):
        parse_body(json.dumps(data).encode())


# ---- prompt or messages -------------------------------------------------------------------------


def test_messages_stand_in_for_a_prompt() -> None:
    request = parse_body(b'{"messages": [{"role": "user", "content": "Hello"}]}')
    assert request.messages is not None
    assert request.messages[0].content == "Hello"


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"prompt": null}',
        HELLO % ', "messages": [{"role": "user", "content": "Hi"}]',
        '{"messages": []}',
        '{"messages": [{"role": "tool", "content": "Hi"}]}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "user", "content": "Hi", "name": "x"}]}',
    ],
)
def test_exactly_one_of_prompt_and_messages_is_needed(body: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_body(body.encode())


# ---- the query ----------------------------------------------------------------------------------


def test_a_query_has_the_same_names_and_reads_numbers() -> None:
    query = [("prompt", "Hello"), ("max_tokens", "5"), ("temperature", "0.5"), ("seed", "7")]
    request = parse_query(query)
    assert (request.max_tokens, request.temperature, request.seed) == (5, 0.5, 7)


def test_only_stop_may_repeat_in_a_query() -> None:
    request = parse_query([("prompt", "Hello"), ("stop", "a"), ("stop", "b")])
    assert request.stop == ["a", "b"]
    with pytest.raises(InvalidRequest) as error:
        parse_query([("prompt", "Hello"), ("top_k", "1"), ("top_k", "1")])
    assert fields_of(error) == ["top_k"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_tokens", "many"),
        ("max_tokens", "1.5"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("nope", "1"),
        ("messages", "[]"),
        ("stop", ""),
        ("key", "short"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_query([("prompt", "Hello"), (name, value)])
    assert fields_of(error)[0].split(".")[0] == name


# ---- what errors say ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda: parse_body(b'{"prompt": "CANARY", "top_k": -1, "stop": ["CANARY", ""]}'),
        lambda: parse_body(b'{"prompt": "CANARY", "key": "CANARY!"}'),
        lambda: parse_body(b'{"prompt": "CANARY"'),
        lambda: parse_body(b'{"prompt": "CANARY\xff"}'),
        lambda: parse_body(b'{"prompt": ["CANARY"]}'),
        lambda: parse_query([("prompt", "CANARY"), ("top_k", "CANARY")]),
        lambda: parse_parameters({"prompt": "CANARY\ud800"}),
    ],
)
def test_no_error_quotes_what_was_sent(read: Any) -> None:
    with pytest.raises(MiniVaultError) as error:
        read()
    assert "CANARY" not in str(error.value)
    assert "CANARY" not in repr(error.value)


@pytest.mark.parametrize(
    "body, field, meant",
    [
        ({"prompt": "x", "temprature": 1}, "temprature", "temperature may be meant"),
        ({"prompt": "x", "top-k": 1}, "top-k", "top_k may be meant"),
        (
            {"messages": [{"role": "user", "content": "x", "contents": "x"}]},
            "messages.0.contents",
            "content may be meant",
        ),
        ({"prompt": "x", "model": "y"}, "model", "/docs lists them"),
    ],
)
def test_an_unknown_name_brings_the_one_that_may_be_meant(
    body: dict[str, Any], field: str, meant: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_body(json.dumps(body).encode())
    assert raised.value.errors == [FieldError(field, f"is no field of a request; {meant}")]


def test_an_unknown_name_is_sent_back_short_and_in_ascii() -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_query([("prompt", "Hello"), ("é" * 100, "1")])
    assert fields_of(error)[0] == "\\xe9" * 64


@pytest.mark.parametrize("name", GenerateRequest.model_fields)
def test_what_would_be_right_is_said_with_the_limits_of_the_field(name: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_body(json.dumps({"prompt": "Hello", name: {}}).encode())
    [found] = [each for each in error.value.errors if each.field == name]
    assert found.message.startswith("must be ")
    numbers = set(re.findall(r"\d+", found.message))
    assert limits(GenerateRequest.model_json_schema()["properties"][name]) <= numbers


def limits(schema: dict[str, Any]) -> set[str]:
    """Every bound that stands in a field's schema."""
    bounds = {
        f"{value:g}" if value < 1e6 else str(int(value))
        for key, value in schema.items()
        if re.search(r"(?i)minimum|maximum|minlength|maxlength|minitems|maxitems", key)
    }
    inner = [*schema.get("anyOf", []), *filter(None, [schema.get("items")])]
    return bounds.union(*map(limits, inner))

"""What a client makes of a stream, in memory."""

from __future__ import annotations

import json

import pytest

from minivault.client.event_stream import EventStream
from minivault.client.reading import Reading, error_of
from minivault.errors import (
    Gone,
    Incomplete,
    InvalidRequest,
    MiniVaultError,
    QueueFull,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from minivault.generations import Event
from minivault.web.sse import encode
from tests.event_stream import parse

ID = "a" * 64
BEGIN = encode(ID, 0, Event("start", {"id": ID, "model": "m", "seed": 7, "params": {}}))
DONE = {"finish_reason": "length", "usage": {}, "receipt": {"seq": 3, "hash": "0" * 64}}


def pieces(*texts: str) -> bytes:
    events = [encode(ID, n, Event(None, {"text": text})) for n, text in enumerate(texts, 1)]
    return b"".join(events)


def test_the_servers_own_bytes_are_read_however_they_are_cut() -> None:
    texts = [
        "h\u00e9",
        "\n\n",
        "data: x\r\n",
        "\ud83e\udd16".encode("utf-16", "surrogatepass").decode("utf-16"),
    ]
    whole = b"retry: 1000\n\n" + BEGIN + b": ping\n\n" + pieces(*texts)
    whole += encode(ID, 5, Event("done", DONE))
    expected = [(each.name, each.id, each.json) for each in parse(whole)]
    for size in range(1, len(whole)):
        stream = EventStream()
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        got = [event for chunk in chunks for event in stream.feed(chunk)]
        assert [(each.name, each.id, each.data) for each in got] == expected
        assert stream.retry == 1.0


def test_a_cut_stream_goes_on_after_the_last_whole_event() -> None:
    reading = Reading({"prompt": "x", "key": "my-own-key"}, patience=10)
    first = reading.ask()
    assert (first.method, first.path, first.body) == (
        "POST",
        "/generate?key=my-own-key",
        {"key": "my-own-key", "prompt": "x"},
    )
    whole = BEGIN + pieces("one", "two")
    assert list(reading.feed(whole[:-10])) == ["one"]
    assert reading.cut("rst") > 0
    again = reading.ask()
    assert (again.method, again.path) == ("GET", f"/generate/{ID}?key=my-own-key")
    assert again.headers["Last-Event-ID"] == f"{ID}.1"
    assert list(reading.feed(encode(ID, 2, Event(None, {"text": "two"})))) == ["two"]
    assert list(reading.feed(encode(ID, 3, Event("done", DONE)))) == []
    assert reading.over
    assert (reading.text, reading.end) == ("onetwo", DONE)


def test_what_nobody_named_is_named_so_that_it_starts_once() -> None:
    reading = Reading({"prompt": "x"}, patience=10)
    one, two = reading.ask(), reading.ask()
    assert one.body == two.body
    assert one.body
    assert len(one.body["key"]) >= 16


def test_a_resumable_end_is_none() -> None:
    reading = Reading({"prompt": "x"}, patience=10)
    data = {"finish_reason": "interrupted", "resumable": True}
    list(reading.feed(BEGIN + encode(ID, 1, Event("stopped", data, numbered=False))))
    assert not reading.over


def test_patience_ends_and_every_word_of_the_server_renews_it() -> None:
    reading = Reading({"prompt": "x"}, patience=3)
    list(reading.feed(BEGIN + pieces("so far")))
    waited = [reading.cut("rst") for _ in range(3)]
    assert waited == sorted(waited)
    list(reading.feed(encode(ID, 2, Event(None, {"text": "."}))))
    assert [reading.cut("rst") for _ in range(3)] == waited
    with pytest.raises(Unreachable) as raised:
        reading.cut("rst")
    assert raised.value.text == "so far."


def test_gone_and_failed_raise_with_the_text_so_far() -> None:
    for event, error in (
        (Event("gone", {}), Gone),
        (Event("failed", {"finish_reason": "error", "error": {"message": "it broke"}}), Incomplete),
    ):
        reading = Reading({"prompt": "x"}, patience=3)
        with pytest.raises(error) as raised:
            list(reading.feed(BEGIN + pieces("some") + encode(ID, 2, event)))
        assert raised.value.text == "some"


def _problem(title: str, **more: object) -> bytes:
    return json.dumps({"title": title, "status": 0, "detail": "what is wrong"} | more).encode()


def test_a_refusal_is_the_error_that_the_server_raised() -> None:
    wrong = error_of(
        422, _problem("Invalid request", errors=[{"field": "seed", "message": "is no number"}])
    )
    assert isinstance(wrong, InvalidRequest)
    assert str(wrong) == "seed: is no number"
    full = error_of(503, _problem("Queue full"), "7")
    assert isinstance(full, QueueFull)
    assert full.retry_after == 7
    assert isinstance(error_of(401, _problem("Key needed")), Unauthorized)
    assert isinstance(error_of(503, b"<html>"), Unavailable)
    strange = error_of(418, b"<html>teapot")
    assert type(strange) is MiniVaultError
    assert strange.status == 418
    assert "is the address right?" in str(strange)


def test_a_full_server_is_waited_for_and_a_proxy_that_starts_it_again() -> None:
    reading = Reading({"prompt": "x"}, patience=10)
    assert reading.refused(503, _problem("Queue full"), "4") == 4
    assert reading.refused(502, b"") > 0
    with pytest.raises(QueueFull):
        reading.refused(503, _problem("Queue full"), "9")
    with pytest.raises(Unauthorized):
        Reading({"prompt": "x"}, patience=10).refused(401, _problem("Key needed"))

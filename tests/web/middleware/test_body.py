"""What a body may be, and what the JSON in it may be: through the whole application."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from minivault.web.middleware.body import LIMIT
from tests.web.guarded import OWN, Guarded

FULL = b'{"prompt":"' + b"x" * (LIMIT - 13) + b'"}'
BROWSERS = [{"Origin": OWN}, {"Sec-Fetch-Site": "same-origin"}]


def post(body: bytes | Iterator[bytes], **headers: str) -> tuple[int, str, Guarded]:
    site = Guarded()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = site.client().post("/generate", content=body, headers=named)
    return response.status_code, response.text, site


def chunks(body: bytes, size: int = 4096) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def test_a_body_up_to_the_limit_is_read_whether_its_length_is_declared_or_not() -> None:
    assert len(FULL) == LIMIT == 256 * 1024
    assert post(FULL)[0] == 200
    assert post(chunks(FULL))[0] == 200


def test_a_longer_one_is_refused_by_its_declared_length() -> None:
    status, text, site = post(FULL + b" ")
    assert status == 413
    assert str(LIMIT) in text
    assert site.ran == []
    assert site.reasons == ["body"]


def test_a_longer_one_without_a_length_is_refused_while_it_is_read() -> None:
    read = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for chunk in chunks(FULL * 8):
            read += len(chunk)
            yield chunk

    status, _, site = post(counted())
    assert status == 413
    assert site.ran == []
    assert site.reasons == ["body"]


def test_a_length_that_lies_is_counted_all_the_same() -> None:
    assert post(chunks(FULL + b" "), Content_Length="5")[0] == 413


@pytest.mark.parametrize("length", ["9" * 30, str(LIMIT + 1)])
def test_a_huge_declared_length_is_refused_unread(length: str) -> None:
    assert post(b"{}", Content_Length=length)[0] == 413


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "x", "gzip, identity"])
def test_a_compressed_body_is_not_read(coding: str) -> None:
    status, _, site = post(gzip.compress(b'{"prompt":"x"}'), Content_Encoding=coding)
    assert status == 415
    assert site.ran == []


def test_identity_is_no_compression() -> None:
    assert post(b'{"prompt":"x"}', Content_Encoding="identity")[0] == 200


@pytest.mark.parametrize(
    "media", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_a_program_may_send_json_under_any_type(media: str | None) -> None:
    headers = {"Content_Type": media} if media else {}
    assert post(b'{"prompt":"x"}', **headers)[0] == 200


@pytest.mark.parametrize("browser", BROWSERS)
@pytest.mark.parametrize(
    "media, status",
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 415),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 415),
        ("application/json-seq", 415),
        ("application/jsonx", 415),
    ],
)
def test_a_browser_must_declare_json(
    browser: dict[str, str], media: str | None, status: int
) -> None:
    site = Guarded()
    headers = browser | ({"Content-Type": media} if media else {})
    response = site.client().post("/generate", content=b'{"prompt":"x"}', headers=headers)
    assert response.status_code == status
    assert site.ran == (["/generate"] if status == 200 else [])


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_browser_may_post_nothing_without_a_type(browser: dict[str, str]) -> None:
    assert Guarded().client().post("/generate/abc/stop", headers=browser).status_code == 200


# Body, status, and the field that the answer names.
STRICT: list[tuple[bytes, int, str | None]] = [
    (b'{"prompt":"x"}', 200, None),
    (b'{"prompt":"\\u0000"}', 200, None),
    ('{"prompt":"h\u00e9 \u65e5\u672c \U0001f600"}'.encode(), 200, None),
    (b'{"prompt":"x","temperature":0}', 200, None),
    (b'{"prompt":"x","max_new_tokens":5}', 200, None),
    (b"", 400, None),
    (b"null", 400, None),
    (b"[]", 400, None),
    (b'"x"', 400, None),
    (b"prompt=x", 400, None),
    (b'{"prompt":"x"', 400, None),
    (b'{"prompt":"x"} {}', 400, None),
    (b'\xef\xbb\xbf{"prompt":"x"}', 400, None),
    (b'{"prompt":"\xff"}', 400, None),
    (b'{"prompt":"\xed\xa0\x80"}', 400, None),
    ('{"prompt":"x"}'.encode("utf-16"), 400, None),
    ('{"prompt":"x"}'.encode("utf-32"), 400, None),
    (b"[" * 100_000, 400, None),
    (b'{"prompt":' * 20_000, 400, None),
    (b'{"prompt":"x","temperature":NaN}', 422, "temperature"),
    (b'{"prompt":"x","temperature":Infinity}', 422, "temperature"),
    (b'{"prompt":"x","seed":' + b"9" * 5000 + b"}", 400, None),
    (b'{"prompt":"x","temperature":1e999}', 422, "temperature"),
    (b'{"prompt":"\\ud800"}', 422, "prompt"),
    (b'{"prompt":""}', 422, "prompt"),
    (b"{}", 422, "request"),
    (b'{"prompt":null}', 422, "request"),
    (b'{"prompt":5}', 422, "prompt"),
    (b'{"prompt":["x"]}', 422, "prompt"),
    (b'{"prompt":"x","prompt":"y"}', 422, "prompt"),
    (b'{"prompt":"x","max_tokens":"5"}', 422, "max_tokens"),
    (b'{"prompt":"x","max_tokens":5.0}', 422, "max_tokens"),
    (b'{"prompt":"x","max_tokens":true}', 422, "max_tokens"),
    (b'{"prompt":"x","max_tokens":0}', 422, "max_tokens"),
    (b'{"prompt":"x","max_tokens":5,"max_new_tokens":5}', 422, "max_new_tokens"),
    (b'{"prompt":"x","temperature":2.1}', 422, "temperature"),
    (b'{"prompt":"x","top_k":-1}', 422, "top_k"),
    (b'{"prompt":"x","top_p":0}', 422, "top_p"),
    (b'{"prompt":"x","repetition_penalty":0.9}', 422, "repetition_penalty"),
    (b'{"prompt":"x","seed":9007199254740992}', 422, "seed"),
    (b'{"prompt":"x","stop":"x"}', 422, "stop"),
    (b'{"prompt":"x","stop":[""]}', 422, "stop.0"),
    (b'{"prompt":"x","stop":["a","a","a","a","a","a","a","a","a"]}', 422, "stop"),
    (b'{"prompt":"x","key":"short"}', 422, "key"),
    (b'{"prompt":"x","key":"with space"}', 422, "key"),
    (b'{"prompt":"x","temprature":1}', 422, "temprature"),
    (b'{"prompt":"x","\\ud800":1}', 422, None),
]


@pytest.mark.parametrize("body, status, field", STRICT, ids=lambda v: repr(v)[:60])
def test_json_is_read_strictly(body: bytes, status: int, field: str | None) -> None:
    site = Guarded()
    response = site.client().post("/generate", content=body)
    assert response.status_code == status
    assert site.ran == (["/generate"] if status == 200 else [])
    if status != 200:
        assert response.headers["content-type"] == "application/problem+json"
    if field:
        assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize("body, status, field", STRICT, ids=lambda v: repr(v)[:60])
def test_an_answer_never_quotes_the_input(body: bytes, status: int, field: str | None) -> None:
    canary = b"canary" * 3
    response = Guarded().client().post("/generate", content=body.replace(b'"x"', b'"%b"' % canary))
    if response.status_code != 200:
        assert canary.decode() not in response.text

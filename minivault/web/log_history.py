"""Requests, tokens and endings over time: what the log viewer draws."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from minivault.vault.reader import Reader
from minivault.vault.record import utc
from minivault.web.answers import Bucket, History

MOST_LINES = 50_000  # of the newest; more take longer than anybody waits for a picture
MOST_BUCKETS = 60
WIDTHS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400, 30 * 86400)  # seconds

_TIME = re.compile(rb'^\{"timestamp":"([^"]{20,32})"')
_REASON = re.compile(rb',"finish_reason":"(\w+)"')  # in a text its quotes would be escaped
_TOKENS = re.compile(rb'"completion_tokens":(\d+)')

_Point = tuple[float, str, int]  # when, how it ended, tokens


@dataclass(slots=True)
class _Bucket:
    tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def history(reader: Reader, turn: Callable[[int], None]) -> History:
    """Equal spans of time, oldest first, none left out. Blocks while it reads the newest lines.

    `turn` is told the length of each line; what it raises ends the reading. What cannot be read
    is left out, and named.
    """
    reader = reader.skipping()
    points: list[_Point] = []
    for line in islice(reader.lines_backwards(), MOST_LINES):
        turn(len(line))
        time, reason, tokens = _TIME.search(line), _REASON.search(line), _TOKENS.search(line)
        if time and reason:
            when = datetime.fromisoformat(time[1].decode()).timestamp()
            points.append((when, reason[1].decode(), int(tokens[1]) if tokens else 0))
    if not points:
        return History(width_s=0, buckets=[], unreadable=sorted(reader.unreadable))
    first, last = min(points)[0], max(points)[0]
    width = next((each for each in WIDTHS if (last - first) / each < MOST_BUCKETS), WIDTHS[-1])
    start = first // width * width
    buckets = [_Bucket() for _ in range(int((last - start) // width) + 1)]
    for when, ended, made in points:
        bucket = buckets[int((when - start) // width)]
        bucket.tokens += made
        bucket.reasons[ended] += 1
    described = [_described(start + i * width, each) for i, each in enumerate(buckets)]
    return History(width_s=width, buckets=described, unreadable=sorted(reader.unreadable))


def _described(start: float, bucket: _Bucket) -> Bucket:
    return Bucket(
        start=utc(datetime.fromtimestamp(start, UTC)),
        requests=bucket.reasons.total(),
        tokens=bucket.tokens,
        reasons=dict(bucket.reasons),
    )

"""Whether a key was meant as one: who can reach a server tries the usual words first."""

from __future__ import annotations

import re
from itertools import pairwise

SHORTEST = 12  # characters
LEAST = 6  # characters that are part of no usual word, row or repetition

_USUAL = re.compile(
    "access|admin|apikey|api|bar|change|default|demo|dummy|example|foo|hello|hunter|iloveyou|insert"
    "|here|key|letmein|log|login|master|me|minivault|monkey|my|passphrase|passwd|passwort|password"
    "|pass|please|private|public|pwd|replace|root|secret|server|test|this|token|user|welcome|world"
    "|your"
)
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl")
_NEIGHBOURS = {pair for row in _ROWS for way in (row, row[::-1]) for pair in pairwise(way)}
_DISGUISES = str.maketrans("013457@$!", "oleastasi")  # p4$$w0rd


def is_weak(key: str) -> bool:
    """Whether a key can be guessed or was hardly meant as one: `changeme1234`, a comment's word."""
    plain = key.lower()
    readings = (plain, plain.translate(_DISGUISES))
    return len(key) < SHORTEST or min(map(_surprises, readings)) < LEAST


def _surprises(key: str) -> int:
    """How many letters and digits are left without usual words, rows and what was there before."""
    left = [letter for letter in _USUAL.sub(" ", key) if letter.isalnum()]
    pairs = list(pairwise(left))
    fresh = {pair for pair in pairs if pair not in _NEIGHBOURS and pair[0] != pair[1]}
    return min(len(fresh) + bool(left), 2 * len(set(left)))

"""Generations: each has a life of its own, and responses only follow it."""

from minivault.generations.audit import Audit
from minivault.generations.generation import Event, Follower, Generation
from minivault.generations.generation_id import GenerationIds
from minivault.generations.registry import Registry
from minivault.generations.resume import Gone, Nothing, Resumed

__all__ = [
    "Audit",
    "Event",
    "Follower",
    "Generation",
    "GenerationIds",
    "Gone",
    "Nothing",
    "Registry",
    "Resumed",
]

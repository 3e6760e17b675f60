"""What /health says of the log: whether it is written, shipped and witnessed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from minivault.service import Service


class Standing(BaseModel):
    """How far a bucket or a witness is with the log."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    seq: int = Field(description="It has the records up to this one; 0 is none.")
    behind: int = Field(description="How many newer ones there are.")
    seconds: float = Field(description="How long it has not had all.")
    problem: str | None = Field(description="Why it could not be given them.")


class LogHealth(BaseModel):
    """Whether records can be written, and how far those are that keep or witness them."""

    writable: bool
    problem: str | None
    shipping: Standing | None = Field(default=None, description="The bucket, where there is one.")
    witnesses: list[Standing] = []


def log_health(service: Service) -> LogHealth:
    """As it is now; waits for nothing."""
    publisher, log = service.publisher, service.vault
    found = LogHealth(writable=log.problem is None, problem=log.problem)
    if shipping := publisher.shipping(log.seq):
        found.shipping = Standing.model_validate(shipping)
    if witnesses := publisher.witnesses(log.seq):
        found.witnesses = [Standing.model_validate(each) for each in witnesses]
    return found

"""The vault: a record of everything that was asked and said, chained, verifiable, replayable."""

from minivault.schemas import Receipt
from minivault.vault.journal import Entry
from minivault.vault.record import Begin, Outcome, Record
from minivault.vault.secret import derive, load_secret
from minivault.vault.vault import Vault

__all__ = ["Begin", "Entry", "Outcome", "Receipt", "Record", "Vault", "derive", "load_secret"]

"""The model store: names become folders, downloads become whole copies, copies are checked."""

from minivault.model_store.model import StoredModel
from minivault.model_store.names import DEFAULT, STORYTELLER
from minivault.model_store.progress import Deadlines, Progress, Report
from minivault.model_store.store import Choice, ModelStore

__all__ = [
    "DEFAULT",
    "STORYTELLER",
    "Choice",
    "Deadlines",
    "ModelStore",
    "Progress",
    "Report",
    "StoredModel",
]

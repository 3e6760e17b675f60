"""LangChain's ChatOpenAI and OpenAI."""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

from tests.clients.drivers.asked import ASKED, failure, tell


class Animal(BaseModel):
    name: str
    legs: int


def chat(**changes: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "smollm2", "max_retries": 0, **ASKED["sampling"], **changes})


text = ASKED["text"]
pieces = [each.content for each in chat().stream(text)]
responses = chat(use_responses_api=True, seed=None, extra_body={"seed": ASKED["sampling"]["seed"]})
# This class alone sends a top_p of its own where none is given; the others leave it to the server.
base = OpenAI(model="smollm2", max_retries=0, top_p=0.9, **ASKED["sampling"])
tell(
    whole=chat().invoke(text).content,
    streamed="".join(pieces),
    pieces=len([each for each in pieces if each]),
    responses=responses.invoke(text).text,
    continued=base.invoke(text),
    batch=base.batch([text, text]),
    structured=chat().with_structured_output(Animal).invoke("A cat.").model_dump(),
    called=chat(max_tokens=80)
    .with_structured_output(Animal, method="function_calling")
    .invoke("A cat.")
    .model_dump(),
    wrong=failure(lambda: chat(temperature=5).invoke(text)),
    too_long=failure(lambda: chat().invoke(text * 400)),
)

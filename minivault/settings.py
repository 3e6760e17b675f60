"""The settings: one field is one option of `serve`, one MINIVAULT_ variable, one line of docs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from minivault.errors import FieldError, InvalidRequest
from minivault.listed import HOST, ORIGIN, SERVER, WITNESS, listed
from minivault.size import Bytes

Keys = Annotated[list[SecretStr], NoDecode]
Names = Annotated[list[str], NoDecode]


INSTEAD = "say --runner (MINIVAULT_RUNNER) auto, native or transformers"
"""What to do in place of --kernels, which version 0.1 had."""


class Settings(BaseSettings):
    """Read from `MINIVAULT_…` variables and `.env`; the command line overrides both."""

    model_config = SettingsConfigDict(
        env_prefix="MINIVAULT_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; off loopback it needs a key."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    model: str | None = Field(
        None,
        min_length=1,
        description="Model to serve: a name, hub id, folder or GGUF file. Default: distilgpt2.",
    )
    model_alias: Names = Field(
        default_factory=list,
        description="Another name for the model over /v1 (repeatable); * is any.",
    )
    plain_chat: bool = Field(
        True, description="Let a model without a chat template continue the messages of /v1."
    )
    models_dir: Path = Field(Path("models"), description="Folder of the models.")
    logs_dir: Path = Field(Path("logs"), description="Folder of the log.")
    dtype: Literal["auto", "float32", "bfloat16", "int8", "int4"] = Field(
        "auto",
        description="Width of the weights; auto: a GGUF's own, else bfloat16 (through "
        "transformers where the CPU multiplies it).",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")
    runner: Literal["auto", "native", "transformers"] = Field(
        "auto",
        description="What computes: C kernels (native, on the CPU) or transformers.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="Threads of the model. Default: one per core."
    )
    context: int | None = Field(
        None,
        ge=2,
        le=2**24,
        description="Tokens of prompt and text at most. Default: the model's, at most 8192.",
    )
    max_running: int = Field(
        32,
        ge=1,
        le=20_000,
        description="Generations that run at once. Before upstream servers by default as many as "
        "they take.",
    )
    max_choices: int = Field(
        32, ge=1, le=1024, description="Texts that one request over /v1 may ask for."
    )
    max_waiting: int = Field(
        32, ge=0, le=10_000, description="Requests that may wait; others get 503."
    )
    max_body: Bytes = Field(
        Bytes("4 MiB"), description="Size of a request's body over /v1; elsewhere it is 256 KiB."
    )
    kv_memory: Bytes = Field(
        Bytes("1 GiB"), description="Memory for keys and values of running generations."
    )
    prefix_memory: Bytes = Field(
        Bytes("256 MiB"),
        description="Memory for earlier turns and beginnings that are kept; 0 is none.",
    )
    share_prefixes: bool = Field(
        False,
        description="Let callers with different keys reuse each other's kept beginnings.",
    )
    backend: str | None = Field(
        None,
        min_length=1,
        description="Another backend: local, echo, an entry point or package.module:Class.",
    )
    upstream: Names = Field(
        default_factory=list,
        description="OpenAI-compatible server that makes the text instead (repeatable).",
    )
    upstream_key: Keys = Field(
        default_factory=list, max_length=1, description="Key that upstream servers want (or @FILE)."
    )
    upstream_limit: int = Field(
        32, ge=1, le=10_000, description="Texts that each upstream server makes at once."
    )
    upstream_same_bytes: bool = Field(
        False,
        description="The upstream servers promise the same bytes for the same request.",
    )
    splice: bool = Field(
        True, description="Let another upstream server go on with a text whose own is lost."
    )
    api_key: Keys = Field(
        default_factory=list,
        description="Key that requests must bring (repeatable; @FILE).",
    )
    log_key: Keys = Field(default_factory=list, description="Key for /logs* (repeatable; @FILE).")
    secret_file: Path | None = Field(
        None, description="Secret that signs event ids; share it to let servers take over."
    )
    signing_key: Path | None = Field(
        None, description="Ed25519 private key that signs the checkpoint (minivault logs keygen)."
    )
    ship_hashes: str | None = Field(
        None,
        min_length=1,
        description="Locked bucket for the log's tree: s3://…, gs://…, az://… or a folder.",
    )
    ship_texts: str | None = Field(
        None, min_length=1, description="Bucket for the log's lines, where they can be erased."
    )
    ship_credentials: Path | None = Field(
        None, description="Private file of NAME=value lines (AWS_…). Default: the environment."
    )
    ship_every: float = Field(10.0, ge=0.1, le=86_400, description="Seconds between shippings.")
    witness: Names = Field(
        default_factory=list,
        description="Witness that signs the log's tree, as URL#KEY (repeatable).",
    )
    witness_every: float = Field(
        60.0, ge=0.1, le=86_400, description="Seconds between two times that witnesses are asked."
    )
    allowed_host: Names = Field(
        default_factory=list, description="Another Host name to answer to (repeatable)."
    )
    trusted_origin: Names = Field(
        default_factory=list,
        description="Origin whose pages may use this server: https://example.org (repeatable).",
    )
    offline: bool = Field(False, description="Never open a connection outwards.")
    insecure: bool = Field(False, description="Allow another address than loopback without a key.")
    verbose: bool = Field(
        False, description="Print a line for what pages ask for by themselves too."
    )
    drain: float = Field(
        5.0, ge=0, le=3600, description="Seconds that running generations may go on at shutdown."
    )
    store_text: bool = Field(
        True, description="Keep prompts and responses; their lengths are kept anyway."
    )
    log_max_bytes: Bytes = Field(Bytes("64 MiB"), description="Size at which the log is rotated.")
    log_keep_files: int | None = Field(
        None, ge=1, description="Rotated log files to keep. Default: all."
    )
    log_keep_days: float | None = Field(
        None, gt=0, le=100_000, description="Days to keep rotated log files. Default: for ever."
    )

    @field_validator(
        *("models_dir", "logs_dir", "secret_file", "signing_key", "ship_credentials"),
        mode="before",
    )
    @classmethod
    def _read_path(cls, value: object) -> object:
        """With `~` written out, as no shell does it in a file or behind `=`."""
        if not isinstance(value, str | Path):
            return value
        if not str(value).strip():
            raise ValueError("must be a path, and is empty")
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueError(f"there is no home folder for {str(value).split('/')[0]}") from None

    @field_validator("kv_memory")
    @classmethod
    def _require_room_for_keys(cls, value: Bytes) -> Bytes:
        return _at_least(Bytes("64 KiB"), value)

    @field_validator("log_max_bytes", "max_body")
    @classmethod
    def _require_room_for_a_line(cls, value: Bytes) -> Bytes:
        return _at_least(Bytes("1 KiB"), value)

    @field_validator("api_key", "log_key", "upstream_key", mode="before")
    @classmethod
    def _read_keys(cls, value: object) -> object:
        return listed(value, "key", read_files=True)

    @field_validator("allowed_host", mode="before")
    @classmethod
    def _read_hosts(cls, value: object) -> object:
        return listed(value, "name", right=HOST)

    @field_validator("model_alias", mode="before")
    @classmethod
    def _read_aliases(cls, value: object) -> object:
        return listed(value, "name")

    @field_validator("trusted_origin", mode="before")
    @classmethod
    def _read_origins(cls, value: object) -> object:
        return listed(value, "origin", right=ORIGIN)

    @field_validator("upstream", mode="before")
    @classmethod
    def _read_upstreams(cls, value: object, info: ValidationInfo) -> object:
        found = listed(value, "address of a server", right=SERVER)
        if found and (info.data.get("model") or info.data.get("backend")):
            raise ValueError("takes the place of --model and --backend; give one of them")
        return found

    @field_validator("witness", mode="before")
    @classmethod
    def _read_witnesses(cls, value: object) -> object:
        return listed(value, "witness", right=WITNESS)

    @property
    def most_running(self) -> int:
        """Generations that run at once."""
        if self.upstream and "max_running" not in self.model_fields_set:
            return len(self.upstream) * self.upstream_limit
        return self.max_running

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The usual sources, without what Kubernetes puts there.

        Raises InvalidRequest for a variable of an option that is gone.
        """
        for source in (env_settings, dotenv_settings):
            if not isinstance(source, EnvSettingsSource):
                continue
            if source.env_vars.get("minivault_kernels"):
                raise InvalidRequest([FieldError("MINIVAULT_KERNELS", f"is gone; {INSTEAD}")])
            if is_link(source.env_vars.get("minivault_port")):
                left = {k: v for k, v in source.env_vars.items() if k != "minivault_port"}
                source.env_vars = left
        return init_settings, env_settings, dotenv_settings, file_secret_settings


def is_link(value: str | None) -> bool:
    """Whether this is no port, but what Kubernetes calls one: tcp://10.96.12.7:8000."""
    return value is not None and "://" in value


def _at_least(least: Bytes, value: Bytes) -> Bytes:
    if value < least:
        raise ValueError(f"must be at least {least}")
    return value

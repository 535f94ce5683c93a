"""The only reader of the environment. Every number of ``operations.md`` is here under its own name."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, AliasGenerator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024

PREFIX_ONLY = frozenset({"data", "url", "api_key", "lease", "heartbeat", "reconcile", "log_level", "worker_slots"})
"""Names too common to be read from the environment without ``VECLOOM_`` in front."""


def environment_names(name: str) -> AliasChoices:
    """``VECLOOM_<NAME>`` always; the bare ``<NAME>`` too where it cannot be mistaken for another program's."""
    choices = [name, f"VECLOOM_{name.upper()}"]
    if name not in PREFIX_ONLY:
        choices.append(name.upper())
    return AliasChoices(*choices)


def default_data_folder() -> Path:
    """Where the embedded stack keeps everything: ``/var/lib/vecloom`` for root, else the user's data folder."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/vecloom")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vecloom"


class Settings(BaseSettings):
    """Settings of every entry point, from environment variables (``.env`` is not read).

    Each setting is read from ``VECLOOM_<NAME>`` and, unless it is in ``PREFIX_ONLY``, from ``<NAME>``.
    Times are seconds, sizes bytes unless the name says otherwise.
    """

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=environment_names),
    )

    # outside systems
    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    qdrant_url: str | None = None
    qdrant_api_key: SecretStr | None = None
    data: Path = Field(default_factory=default_data_folder)
    url: str | None = None
    api_key: SecretStr | None = None
    redis_namespace: str = "vecloom"

    # operations
    operation_soft_time_limit: float = 3600
    operation_hard_time_limit: float = 7200
    default_max_retries: int = 3
    default_retry_delay: float = 60
    max_interruptions: int = 10
    lease: float = 20
    heartbeat: float = 5
    reconcile: int = 10
    shutdown_grace: float = 5
    worker_slots: int = 10
    poll_delay: float = 0.02

    # documents
    document_timeout: float = 300
    document_max_bytes: int = 100 * MIB
    document_max_attempts: int = 3
    process_slots: int = Field(default_factory=lambda: max(1, os.cpu_count() or 1))
    process_memory_bytes: int = 4096 * MIB
    source_roots: Annotated[tuple[Path, ...], NoDecode] = ()

    # chunking and embedding
    chunk_size: int = 400
    chunk_overlap: int = 40
    embedding_model: str = "wordllama"
    embedding_url: str | None = None
    embedding_api_key: SecretStr | None = None
    embedding_internal_key: SecretStr | None = None
    embedding_timeout: float = 60
    embedding_batch_size: int = 100
    embedding_batch_tokens: int = 16_384
    embedding_concurrency_per_worker: int = 4
    embedding_query_prefix: str = ""
    embedding_document_prefix: str = ""

    # vector store
    vector_upload_batch_size: int = 100
    vector_upload_concurrency: int = 4
    document_removal_batch_size: int = 100
    pipeline_max_bytes: int = 16 * MIB

    # edge
    log_level: str = "INFO"
    websockets_per_user: int = 50
    websockets_per_process: int = 1000
    request_max_bytes: int = 10 * MIB

    @field_validator("source_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        """``/a:/b`` names two folders, as in ``PATH``."""
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

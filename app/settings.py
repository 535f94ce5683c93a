"""The only reader of the environment. Every number of ``operations.md`` is here under its own name."""

import os
from base64 import urlsafe_b64decode
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.errors import InvalidInputError

MIB = 1024 * 1024
KEY_BYTES = 32

Seconds = Annotated[float, Field(gt=0)]
SecondsOrNone = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]

PREFIX_ONLY = frozenset(
    {
        "ocr",
        "ocr_languages",
        "secret_keys",
        "data",
        "url",
        "api_key",
        "lease",
        "heartbeat",
        "reconcile",
        "log_level",
        "worker_slots",
        "worker_niceness",
        "metrics_port",
        "metrics_host",
        "trusted_proxies",
        "session_lifetime",
        "upload_folder",
        "projection_folder",
        "projection_compile",
    }
)
"""Names too common to be read from the environment without ``VECLOOM_`` in front."""


WEB = ("http", "https")
SCHEMES = {
    "database_url": ("postgresql", "postgres", "postgresql+asyncpg"),
    "redis_url": ("redis", "rediss", "unix"),
}


def require_url(url: str, *, schemes: tuple[str, ...]) -> None:
    """Raise ValueError, without the URL, if it is none or of another scheme."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL; see whether its port is a number") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must be a URL that begins with {' or '.join(f'{name}://' for name in schemes)}")


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


class EmbeddingServer(BaseModel):
    """A further model behind HTTP, as one that a collection is rebuilt with, or was built with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, max_length=200)
    url: str
    tokenizer: Path | None = None
    api_key: SecretStr | None = None
    internal_key: SecretStr | None = None
    query_prefix: str = ""
    document_prefix: str = ""

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        require_url(value, schemes=WEB)
        return value


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
    operation_soft_time_limit: Seconds = 3600
    operation_hard_time_limit: Seconds = 7200
    default_max_retries: CountOrNone = 3
    default_retry_delay: SecondsOrNone = 60
    max_interruptions: CountOrNone = 10
    lease: Seconds = 20
    heartbeat: Seconds = 5
    reconcile: Annotated[int, Field(ge=1, le=60)] = 10
    shutdown_grace: SecondsOrNone = 1
    worker_slots: Count = 10
    worker_niceness: Annotated[int, Field(ge=0, le=19)] = 10
    poll_delay: Seconds = 0.5
    priority_aging: Seconds = 600
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    metrics_host: str = "127.0.0.1"
    sync_per_round: Count = 20
    sync_history: Count = 100
    sync_longest_backoff: Seconds = 86_400

    # documents
    document_timeout: Seconds = 300
    document_max_bytes: Count = 100 * MIB
    document_max_attempts: Count = 3
    process_slots: Count = Field(default_factory=lambda: max(1, os.cpu_count() or 1))
    process_memory_bytes: Count = 4096 * MIB
    archive_max_members: Count = 100_000
    archive_max_bytes: Count = 10 * 1024 * MIB
    archive_max_ratio: Count = 200
    archive_max_depth: Count = 3
    ocr: Literal["auto", "off"] = "auto"
    ocr_languages: Annotated[str, Field(pattern=r"^[A-Za-z_/0-9]+(\+[A-Za-z_/0-9]+)*$")] = "eng"
    source_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    source_spool: Path | None = None
    sources_allow_private: bool = False
    git_max_bytes: Count = 4096 * MIB
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()

    # uploads
    upload_folder: Path | None = None
    upload_max_bytes: Count = 1024 * MIB
    upload_max_files: Count = 1000
    upload_quota_bytes: Count = 100 * 1024 * MIB
    upload_max_unfinished: Count = 100
    upload_expiry: Seconds = 86_400
    upload_free_bytes: CountOrNone = 1024 * MIB

    # projections
    projection_folder: Path | None = None
    projection_compile: bool = True

    # chunking and embedding
    chunk_size: Count = 400
    chunk_overlap: CountOrNone = 40
    embedding_model: str = "wordllama"
    embedding_url: str | None = None
    embedding_tokenizer: Path | None = None
    embedding_others: tuple[EmbeddingServer, ...] = ()
    embedding_api_key: SecretStr | None = None
    embedding_internal_key: SecretStr | None = None
    embedding_timeout: Seconds = 60
    embedding_batch_size: Count = 100
    embedding_batch_tokens: Count = 16_384
    embedding_concurrency_per_worker: Count = 4
    embedding_cache_bytes: CountOrNone = 1024 * MIB
    fastembed_path: Path | None = None
    fastembed_model: str = "fastembed"
    embed_server_queue: Count = 4096
    embedding_query_prefix: str = ""
    embedding_document_prefix: str = ""
    embedding_price_per_million_tokens: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    embedding_price_currency: Annotated[str, Field(min_length=1, max_length=20)] = "$"

    # reranking
    reranker_url: str | None = None
    reranker_model: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    reranker_api_key: SecretStr | None = None
    reranker_timeout: Seconds = 10

    # vector store
    vector_upload_batch_size: Count = 100
    vector_upload_concurrency: Count = 4
    document_removal_batch_size: Count = 100
    pipeline_max_bytes: Count = 16 * MIB

    # edge
    otel_exporter_otlp_endpoint: str | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    websockets_per_user: Count = 50
    websockets_per_process: Count = 1000
    request_max_bytes: Count = 10 * MIB
    session_lifetime: Seconds = 43_200

    # upkeep
    default_days_to_keep: Count = 30
    reindex_gate_sample: Annotated[float, Field(gt=0, le=10)] = 1.0
    reindex_rollback_window: SecondsOrNone = 86_400
    cleanup_delay_base: SecondsOrNone = 300
    cleanup_delay_per_10k_vectors: SecondsOrNone = 60
    cleanup_delay_max: SecondsOrNone = 1800
    orphan_grace: SecondsOrNone = 86_400
    # who did what, and telling others
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    audit_keep_days: CountOrNone = 0
    webhook_timeout: Seconds = 15
    webhook_retry_delay: Seconds = 10
    webhook_max_attempts: Count = 12
    webhook_disable_after_days: Seconds = 5
    webhook_keep_days: Count = 14
    webhook_private_addresses: Literal["auto", "allow", "refuse"] = "auto"

    @field_validator("source_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        """``/a:/b`` names two folders, as in ``PATH``."""
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        """Keys with commas between them, the newest first."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("secret_keys")
    @classmethod
    def _are_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            try:
                is_key = len(urlsafe_b64decode(key.get_secret_value())) == KEY_BYTES
            except ValueError:
                is_key = False
            if not is_key:
                raise ValueError("must be keys that `vecloom sources new-key` makes, with commas between them")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        """``10.0.0.0/8, 192.0.2.7`` names a network and an address."""
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
            for part in value:
                ip_network(part, strict=False)
        return value

    @field_validator("database_url", "redis_url", "qdrant_url", "embedding_url", "reranker_url")
    @classmethod
    def _is_url(cls, value: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        if value is not None:
            url = value.get_secret_value() if isinstance(value, SecretStr) else value
            require_url(url, schemes=SCHEMES.get(info.field_name or "", WEB))
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.heartbeat * 2 > self.lease:
            raise ValueError("VECLOOM_HEARTBEAT must be at most half of VECLOOM_LEASE, or every lease would run out")
        if self.operation_soft_time_limit > self.operation_hard_time_limit:
            raise ValueError("OPERATION_SOFT_TIME_LIMIT must not be longer than OPERATION_HARD_TIME_LIMIT")
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError("CHUNK_OVERLAP must be smaller than CHUNK_SIZE")
        return self


class InvalidSettingError(InvalidInputError):
    """An environment variable has a value that its setting cannot have."""

    code = "invalid_setting"


def read_settings(**values: Any) -> Settings:  # noqa: ANN401 — each setting has its own type
    """The settings of the environment; ``values`` win over it.

    Raises:
        InvalidSettingError: naming every variable that is wrong, without its value, which may be a secret.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        wrong = []
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            message = problem["msg"].removeprefix("Value error, ")
            name = str(problem["loc"][0]).removeprefix("VECLOOM_").upper() if problem["loc"] else ""
            wrong.append(f"VECLOOM_{name}: {message}" if name else message)
        raise InvalidSettingError("; ".join(wrong)) from None


def wants_details() -> bool:
    """Whether the log level asks for all details; answered also where other settings cannot be read."""
    return os.environ.get("VECLOOM_LOG_LEVEL", "").upper() == "DEBUG"

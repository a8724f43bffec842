"""Every setting of every process, in one frozen class; `NEXTBEST_` in the environment, `nextbest settings` to see."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline import access
from pipeline.core.identity.identifiers import tenant_name

#: Each one listed costs a hash of every identifier at the endpoints.
TENANT_KEYS_MAX: Final = 4


#: Of this machine's own broker alone; see `Settings.development`.
DEVELOPMENT_KEY: Final = "nextbest-development-key"
#: More connections, requests or letters than one process could hold, or ever sees.
_COUNT_MAX: Final = 1_000_000_000
_HOST: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
_SERVER: Final = re.compile(rf"({_HOST}|\[[0-9A-Fa-f:.]+\])(:\d{{1,5}})?", re.ASCII)
_APP_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_HERE: Final = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


class Settings(BaseSettings):
    """Read once at a process's start; CLI options override the environment."""

    model_config = SettingsConfigDict(env_prefix="NEXTBEST_", frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, HOST:PORT[,HOST:PORT…].")
    data_dir: Path = Field(Path(".nextbest"), description="Everything this installation keeps on this machine.")
    app_id: str = Field("nextbest", description="Consumer group of the workers and prefix of the changelogs.")
    tenant: str = Field("default", description="Tenant of callers that name none.")
    tenant_key: SecretStr = Field(
        SecretStr(DEVELOPMENT_KEY),
        description="Key of the identifier hashes; the default is for development: set your own before real data. To "
        "change it, put the new one before the old, `new,old`: what is kept under the old comes over as it is met.",
    )
    privacy_key: SecretStr = Field(
        SecretStr(DEVELOPMENT_KEY),
        description="Key that wraps every subject's own, `new[,earlier…]`. The default is for development; set your "
        "own before real data and keep it: without it nothing about anybody can be read.",
    )
    development: bool = Field(
        False, description="Whether the development keys may be used with a broker on another machine. With real data "
        "they protect nothing: everybody knows them.",
    )
    http_host: str = Field("127.0.0.1", description="Address the bridge listens on.")
    http_port: int = Field(8080, ge=0, le=65535, description="Port the bridge listens on.")
    worker_host: str = Field("127.0.0.1", description="Address of a worker's metrics and health.")
    worker_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's metrics and health; 0 picks a free one."
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Development API keys, `key=scope scope tenant:name,…`: of the default tenant where none is named, "
        "of every one with `tenant:*`; empty: no key is asked for.",
    )
    cors_origins: str = Field(
        "", description="Origins of web pages that may call the bridge from a browser, `https://shop.example,…`; `*` "
        "for every one; empty: none.",
    )
    connections_max: int = Field(
        2_000, ge=1, le=_COUNT_MAX,
        description="Connections one bridge holds; past it a new one is answered with 503 and closed.")
    connections_per_address_max: int = Field(
        512, ge=1, le=_COUNT_MAX,
        description="Of them, those of one address: a proxy in front needs as many as it opens.")
    deadline_ms: int = Field(150, ge=1, le=60_000, description="How long a caller waits before the declared fallback.")
    deadline_ms_max: int = Field(
        2_000, ge=1, le=60_000, description="The longest wait a caller may ask for (X-Deadline-Ms).")
    max_in_flight: int = Field(
        512, ge=1, le=_COUNT_MAX, description="Decision requests one bridge waits for; past it: 429.")
    tenant_quotas: str = Field(
        "", description="What each tenant may ask of one bridge, `tenant=decisions:200 in_flight:64 events:1000,…` "
        "(two of them per second); `*` for every tenant that is not named; empty: no limits of their own.",
    )
    session_timeout_ms: int = Field(
        6_000, ge=1_000, le=1_800_000, description="A worker silent for longer loses its partitions.")
    commit_interval_ms: int = Field(
        500, ge=1, le=600_000, description="How often offsets of completed records are committed.")
    dead_letter_limit: int = Field(
        1_000, ge=0, le=_COUNT_MAX,
        description="Dead letters per minute, worker and topic past which it is paused (a bad deploy, no bad data).",
    )
    logs: str = Field("", description="Where the log store lies: a folder, or s3://bucket/prefix; empty: none.")
    logs_flush_bytes: int = Field(
        32 * 1_048_576, ge=65_536, le=1_073_741_824,
        description="How much the sink of the log store holds before it writes.")
    logs_flush_s: int = Field(
        60, ge=1, le=3_600, description="How long a record waits at most before the sink writes it, in seconds.")
    logs_upkeep_s: int = Field(
        3_600, ge=0, le=604_800,
        description="How often a running sink merges and expires each topic's files, in seconds; 0: never "
        "(`nextbest logs compact` and `logs expire` do).")
    logs_retention: str = Field(
        "", description="How many days each tenant's logs are kept, `tenant=400,other=90`, with `*` for every tenant "
        "that is not named; empty: each topic's as long as the broker keeps it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much the logs say.")

    @field_validator("*", mode="before")
    @classmethod
    def _says_something(cls, value: Any, info: ValidationInfo) -> Any:
        """Nothing may be said only where nothing has a meaning: where it is the default."""
        field = cls.model_fields[info.field_name or ""]
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            return value
        if text.strip() != text and not text.strip():
            raise ValueError("is blank: set it, or leave the variable out")
        if not text and field.default not in ("", SecretStr("")):
            raise ValueError("is empty: set it, or leave the variable out")
        if not text.strip().isprintable():
            raise ValueError("has control characters: write it in one line, without them")
        return value

    @field_validator("bootstrap")
    @classmethod
    def _servers_have_addresses(cls, value: str) -> str:
        for server in (one.strip() for one in value.split(",")):
            found = _SERVER.fullmatch(server)
            if not found or int((found[3] or ":1")[1:]) not in range(1, 65_536):
                raise ValueError("write it as HOST:PORT[,HOST:PORT…], without a scheme or path")
        return value

    @field_validator("http_host", "worker_host")
    @classmethod
    def _hosts_are_hosts(cls, value: str) -> str:
        if not re.fullmatch(_HOST, value, re.ASCII):
            try:
                ip_address(value)
            except ValueError:
                raise ValueError("write an address or a host's name, as 127.0.0.1, without a port") from None
        return value

    @field_validator("app_id")
    @classmethod
    def _app_id_can_name_topics(cls, value: str) -> str:
        if not _APP_ID.fullmatch(value):
            raise ValueError("write 1 to 100 letters, digits, dots, dashes or underscores, the first no sign")
        return value

    @field_validator("tenant")
    @classmethod
    def _tenant_can_be_one(cls, value: str) -> str:
        return tenant_name(value)

    @field_validator("tenant_key")
    @classmethod
    def _keys_can_be_told_apart(cls, value: SecretStr) -> SecretStr:
        keys = _split(value)
        if not all(keys) or len(set(keys)) < len(keys) or len(keys) > TENANT_KEYS_MAX:
            raise ValueError(f"lists 1 to {TENANT_KEYS_MAX} different keys, the new one first, a comma between two")
        return value

    @field_validator("privacy_key")
    @classmethod
    def _keys_are_there(cls, value: SecretStr) -> SecretStr:
        if not all(_split(value)):
            raise ValueError("lists the key, and earlier ones after it, a comma between two")
        return value

    @field_validator("api_keys")
    @classmethod
    def _api_keys_can_be_read(cls, value: SecretStr) -> SecretStr:
        access.api_keys(value.get_secret_value(), cls.model_fields["tenant"].default)
        return value

    @field_validator("tenant_quotas")
    @classmethod
    def _quotas_can_be_read(cls, value: str) -> str:
        access.quotas(value)
        return value

    @field_validator("logs_retention")
    @classmethod
    def _retention_can_be_read(cls, value: str) -> str:
        access.kept_days(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: str) -> str:
        for origin in (one.strip() for one in value.split(",") if value):
            if origin != "*" and not re.fullmatch(r"https?://[^/\s,*]+", origin):
                raise ValueError("write an origin as https://shop.example, without a path, or * for every one")
        return value

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of pages that may call the bridge."""
        return tuple(filter(None, (one.strip() for one in self.cors_origins.split(","))))

    @property
    def development_keys(self) -> tuple[str, ...]:
        """The settings that hold a development key where a broker of another machine is used; empty: all is well."""
        if self.development or all(_HERE.fullmatch(host.strip()) for host in self.bootstrap.split(",")):
            return ()
        return tuple(f"NEXTBEST_{name.upper()}" for name in ("tenant_key", "privacy_key")
                     if DEVELOPMENT_KEY in _split(getattr(self, name)))

    @property
    def tenant_keys(self) -> tuple[bytes, ...]:
        """The keys of the identifier hashes, the one that hashes first."""
        return tuple(key.encode() for key in _split(self.tenant_key))


def refusals(error: ValidationError) -> dict[str, str]:
    """Why each setting that cannot be used is refused, by the setting's name; never with what it is set to."""
    return {str(one["loc"][0]): one["msg"].removeprefix("Value error, ") for one in error.errors(include_input=False)}


def _split(value: SecretStr) -> list[str]:
    return [key.strip() for key in value.get_secret_value().split(",")]

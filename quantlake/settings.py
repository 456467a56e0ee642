"""Settings: the only reader of the environment (and of the ``.env`` that Dagster reads too).

Here: names, defaults and meanings of settings. Not here: what is opened with them (``wiring``).
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from quantlake.contract import QuantLakeError


def project_root() -> Path:
    """The nearest folder upward with a ``dagster.yaml``; else the working folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "dagster.yaml").is_file()), here)


class Settings(BaseSettings):
    """Every setting is ``QUANTLAKE_<NAME>`` in the environment or in ``.env``; secrets never appear in a repr."""

    model_config = SettingsConfigDict(env_prefix="QUANTLAKE_", extra="ignore", frozen=True, hide_input_in_errors=True)

    home: Path = Field(default_factory=lambda: project_root() / ".quantlake")
    profile: Literal["embedded", "production"] = "embedded"
    datasets: str = Field("", description="Further dataset packages or folders, separated by commas.")
    keep_snapshots_days: PositiveInt = Field(7, description="Days for which a lake table can be read as it was; older snapshots expire.")

    kafka_bootstrap: str = Field("", description="host:port,... of Kafka or Redpanda.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "SASL_SSL"
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca_file: str = Field("", description="Certificate authority of the brokers; empty: the system's.")
    kafka_replication: int = 3

    registry_url: str = Field("", description="Confluent-API schema registry, for Apicurio with /apis/ccompat/v7.")
    registry_username: str = ""
    registry_password: SecretStr = SecretStr("")

    catalog_type: Literal["rest", "glue", "sql"] = "rest"
    catalog_uri: str = Field("", description="REST catalog's address; empty for Glue.")
    catalog_warehouse: str = Field("", description="s3://bucket/prefix, or the REST catalog's warehouse name.")
    catalog_token: SecretStr = SecretStr("")
    catalog_credential: SecretStr = Field(SecretStr(""), description="REST catalog's OAuth2 client, as id:secret; instead of a token.")
    objects_location: str = Field("", description="s3://bucket/prefix above objects/; empty: the warehouse, where that is an address.")
    catalog_properties: dict[str, str] = Field(default_factory=dict, repr=False, description="Further pyiceberg properties, as JSON.")

    clickhouse_host: str = Field("", description="host of the ClickHouse server; `embedded`: none, rollups are built in process and lie in the home.")
    clickhouse_port: int = 8443
    clickhouse_secure: bool = True
    clickhouse_username: str = "default"
    clickhouse_password: SecretStr = SecretStr("")

    postgres_dsn: SecretStr = Field(SecretStr(""), description="postgresql://... of the database with pgvector.")
    redis_connection: SecretStr = Field(SecretStr(""), description="host:port,ssl=true,password=... as Feast spells it.")
    author_secret: SecretStr = Field(
        SecretStr(""), description="32 characters or more, with which authors' ids are hashed; embedded and empty: the home makes its own."
    )
    openlineage_url: str = Field("", description="Marquez or OpenMetadata; empty: a file in the home.")

    @field_validator("kafka_bootstrap", "clickhouse_host")
    @classmethod
    def _host(cls, value: str) -> str:
        """A secret in one would be shown wherever the address is."""
        if "@" in value or "/" in value:
            raise ValueError("write host or host:port alone: no scheme, user or password, which have settings of their own")
        return value

    @field_validator("author_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("write 32 characters or more: ids are few enough to be tried with every short one")
        return value

    @field_validator("registry_url", "catalog_uri", "openlineage_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if "@" in value and "@" not in parts.netloc:
            raise ValueError("its user or password has characters that an address does not take: write them %-encoded, or use their own settings")
        if parts.query and parts.scheme in ("http", "https"):
            raise ValueError("write it without ?...: a token has a setting of its own")
        return value

    @cached_property
    def root(self) -> Path:
        """The home, absolute."""
        return self.home.expanduser().resolve()

    @property
    def dataset_places(self) -> list[str]:
        return [p.strip() for p in self.datasets.split(",") if p.strip()]

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def run(self) -> Path:
        """Where running servers announce themselves (``*.json``)."""
        return self.root / "run"

    @property
    def dagster_home(self) -> Path:
        return self.root / "dagster"

    @property
    def default_home(self) -> bool:
        """Whether the home is the one that plain ``dagster`` commands at the project's root use without a variable."""
        return self.root == (project_root() / ".quantlake").resolve()


def load() -> Settings:
    """The settings of this process: the environment first, then ``.env`` of the working folder.

    Raises ``QuantLakeError`` naming each wrong one, never its value.
    """
    try:
        return Settings(_env_file=".env")  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = "; ".join(f"QUANTLAKE_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors(include_input=False, include_url=False))
        raise QuantLakeError(f"wrong settings: {wrong}") from None
    except SettingsError as error:  # JSON that is none
        raise QuantLakeError(f"wrong settings: {error}; it is read as JSON") from None


def set_home(home: Path) -> Settings:
    """Make ``home`` the home of this process and of the processes it starts."""
    os.environ["QUANTLAKE_HOME"] = str(home.expanduser().resolve())
    return load()

"""deploy/profiles: every variant is of settings that there are, says no secret, and makes adapters with any other variant."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from quantlake.adapters.lake.iceberg import Iceberg
from quantlake.adapters.lake.objects import StoreObjects
from quantlake.contract import QuantLakeError
from quantlake.settings import Settings, load
from quantlake.wiring import Adapters
from quantlake_tests.servers.profiles import FOLDER, NAMES, profile

FIELDS = {f"QUANTLAKE_{name.upper()}": field for name, field in Settings.model_fields.items()}
SECRET = {name for name, field in FIELDS.items() if "Secret" in str(field.annotation)}
FILLED = {
    "QUANTLAKE_KAFKA_USERNAME": "quantlake", "QUANTLAKE_REGISTRY_USERNAME": "quantlake", "QUANTLAKE_CLICKHOUSE_USERNAME": "quantlake",
    "QUANTLAKE_POSTGRES_DSN": "postgresql://quantlake:planted@db/quantlake?sslmode=verify-full", "QUANTLAKE_REDIS_CONNECTION": "cache:6379,ssl=true,password=planted",
}  # fmt: skip


def variants(kind: str) -> list[str]:
    return [name for name in NAMES if name.startswith(kind)]


@pytest.mark.parametrize("name", NAMES)
def test_it_names_settings_and_no_secret(name: str) -> None:
    found = profile(name)
    assert found and found.keys() <= FIELDS.keys()
    assert not any(found[secret] for secret in SECRET & found.keys())
    assert (FOLDER / f"{name}.env").read_text().startswith("#"), "a variant says what it is"


def test_each_server_has_its_variants() -> None:
    assert {name.partition("-")[0] for name in NAMES} == {"kafka", "catalog", "postgres", "redis", "clickhouse"}
    assert variants("kafka") == ["kafka-confluent", "kafka-msk", "kafka-redpanda"]
    assert variants("catalog") == ["catalog-glue", "catalog-nessie", "catalog-polaris"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGISTRY_URL", "http://a:hunter2/url@host"), ("CATALOG_URI", "http://u:hun/ter2@host"), ("CATALOG_URI", "http://host?token=hunter2"),
        ("CLICKHOUSE_HOST", "https://u:hunter2@h:8443"), ("KAFKA_BOOTSTRAP", "http://u:hunter2@h"), ("CATALOG_PROPERTIES", '["hunter2"]'),
        ("CATALOG_PROPERTIES", '{"hunter2'), ("KAFKA_REPLICATION", "hunter2"), ("CATALOG_TYPE", "hunter2"), ("AUTHOR_SECRET", "hunter2"),
    ],
)  # fmt: skip
def test_a_setting_with_a_secret_where_none_belongs_is_refused_and_not_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"QUANTLAKE_{name}", value)
    with pytest.raises(QuantLakeError, match=f"wrong settings: .*(?i:{name})") as caught:
        load()
    assert "hun" not in str(caught.value) and "\n" not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize(("kafka", "catalog"), list(itertools.product(variants("kafka"), variants("catalog"))))
def test_any_variants_together_are_a_production_profile(kafka: str, catalog: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [kafka, catalog, "postgres-rds", "redis-elasticache", "clickhouse"]
    values = {k: v for name in chosen for k, v in profile(name).items()} | FILLED
    values |= {secret: "planted" for secret in SECRET & values.keys() if not values[secret]}
    monkeypatch.chdir(tmp_path)
    for name, value in {**values, "QUANTLAKE_PROFILE": "production", "QUANTLAKE_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value if value != str(profile(kafka).get("QUANTLAKE_KAFKA_CA_FILE")) else "")
    settings = load()
    adapters = Adapters(settings)
    consumer = adapters.broker.consumer()  # type: ignore[attr-defined]  # librdkafka knows every name and value
    consumer.close()
    assert isinstance(adapters.lake, Iceberg) and adapters.registry and adapters.features and adapters.olap and adapters.vectors
    assert isinstance(adapters.objects, StoreObjects)
    assert "planted" not in repr(settings) + repr(vars(adapters))


def test_documents_and_authors_of_production_need_a_place_and_a_secret(tmp_path: Path) -> None:
    named = Adapters(Settings(profile="production", home=tmp_path, catalog_warehouse="warehouse"))
    with pytest.raises(QuantLakeError, match="needs QUANTLAKE_OBJECTS_LOCATION"):
        _ = named.objects
    with pytest.raises(QuantLakeError, match="needs QUANTLAKE_AUTHOR_SECRET"):
        named.authors.hashed("twitter", "1")
    assert not (tmp_path / "secrets").exists()


def test_a_home_makes_a_secret_of_its_own_unless_it_is_given_one(tmp_path: Path) -> None:
    def hashed(home: str, **settings: Any) -> str:
        return Adapters(Settings(home=tmp_path / home, **settings)).authors.hashed("twitter", "1")

    assert hashed("a") == hashed("a") != hashed("b")
    given = {"author_secret": "x" * 32}
    assert hashed("a", **given) == hashed("c", **given) != hashed("a")
    assert sorted(p.parent.parent.name for p in tmp_path.glob("*/secrets/author")) == ["a", "b"]

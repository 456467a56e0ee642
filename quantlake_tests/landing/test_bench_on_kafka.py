"""`quantlake bench landing --broker kafka`: over the Kafka of the settings, on topics of its own, which are gone afterwards."""

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from quantlake_tests.e2e.commands import Commands, wait_for
from quantlake_tests.servers.kafka import PASSWORD, USER, KafkaServer

pytestmark = pytest.mark.servers
FIGURES = {"rows_per_cpu_second", "ratio_to_floor", "ratio_to_consume_only", "peak_rss_mb"}


def test_the_benchmark_of_landing_over_kafka(kafka_server: KafkaServer, home: Path) -> None:
    client = kafka_server.scram
    told = {"BOOTSTRAP": client["bootstrap.servers"], "USERNAME": USER, "PASSWORD": PASSWORD, "CA_FILE": client["ssl.ca.location"], "REPLICATION": "1"}
    ql = Commands(home / "home", **{f"QUANTLAKE_KAFKA_{name}": value for name, value in told.items()})
    admin = AdminClient({"bootstrap.servers": kafka_server.address, "log_level": 0})
    done = ql.run("bench", "landing", "--broker", "kafka", "--rows", "2000", "--rounds", "1", "--follow-seconds", "0", "--json")
    figures = json.loads(done.stdout)
    assert figures["broker"] == "kafka" and figures["rows"] == 2000 and all(figures[name] > 0 for name in FIGURES)
    assert PASSWORD not in done.stdout + done.stderr
    wait_for(lambda: not [t for t in admin.list_topics(timeout=10).topics if t.startswith("bench.")], 10)


def test_without_an_address_it_says_which_setting_is_missing(home: Path) -> None:
    ql = Commands(home / "home")
    assert "QUANTLAKE_KAFKA_BOOTSTRAP" in ql.error("bench", "landing", "--broker", "kafka", "--rows", "2000")

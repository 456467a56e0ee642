"""Fixtures of the landing tests alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from quantlake.adapters.broker.kafka import Kafka
    from quantlake.adapters.lake.iceberg import Iceberg
    from quantlake.adapters.registry.sqlite import SqliteRegistry
    from quantlake_tests.landing.fuzzing import Fuzzed


@pytest.fixture
def fuzzing(broker: Kafka, registry: SqliteRegistry, lake: Iceberg, home: Path, topic: str) -> Fuzzed:
    """A topic to be filled with anything, and its table."""
    from quantlake_tests.landing.fuzzing import Fuzzed

    return Fuzzed.opened(topic, broker, registry, lake, home)

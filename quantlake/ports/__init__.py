"""What QuantLake needs of the outside world, as Protocols. One adapter a backend stands behind each."""

from quantlake.ports.broker import Batch, Broker, Last, LogBrokenError, LostRange, Message, Records
from quantlake.ports.lineage import Lineage, LineageEvent
from quantlake.ports.platform import Platform
from quantlake.ports.quality import CheckResult, Quality
from quantlake.ports.registry import Registry, UnknownSchemaError
from quantlake.ports.stores import (
    Appender,
    Commit,
    FeatureStore,
    Files,
    Lake,
    Maintained,
    Objects,
    Olap,
    PartitionStore,
    StaleWriterError,
    VectorStore,
)

__all__ = [
    "Appender", "Batch", "Broker", "CheckResult", "Commit", "FeatureStore", "Files", "Lake", "Last", "Lineage", "LineageEvent", "LogBrokenError", "LostRange",
    "Maintained", "Message", "Objects", "Olap", "PartitionStore", "Platform", "Quality", "Records", "Registry", "StaleWriterError", "UnknownSchemaError", "VectorStore",
]

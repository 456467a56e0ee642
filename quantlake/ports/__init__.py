"""What QuantLake needs of the outside world, as Protocols. One adapter a backend stands behind each."""

from quantlake.ports.broker import RECORD_SCHEMA, Batch, Broker, Message
from quantlake.ports.lineage import Lineage, LineageEvent
from quantlake.ports.platform import Platform
from quantlake.ports.quality import CheckResult, Quality
from quantlake.ports.registry import Registry, UnknownSchemaError
from quantlake.ports.stores import Commit, FeatureStore, Files, Lake, Maintained, Olap, PartitionStore, VectorStore

__all__ = [
    "RECORD_SCHEMA", "Batch", "Broker", "CheckResult", "Commit", "FeatureStore", "Files", "Lake", "Lineage", "LineageEvent",
    "Maintained", "Message", "Olap", "PartitionStore", "Platform", "Quality", "Registry", "UnknownSchemaError", "VectorStore",
]

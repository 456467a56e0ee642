"""The set of ports a profile provides, each opened at first use."""

from typing import Protocol

from quantlake.ports.broker import Broker
from quantlake.ports.lineage import Lineage
from quantlake.ports.quality import Quality
from quantlake.ports.registry import Registry
from quantlake.ports.stores import FeatureStore, Lake, Objects, Olap, VectorStore


class Platform(Protocol):
    @property
    def broker(self) -> Broker: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def lake(self) -> Lake: ...
    @property
    def objects(self) -> Objects: ...
    @property
    def olap(self) -> Olap: ...
    @property
    def vectors(self) -> VectorStore: ...
    @property
    def features(self) -> FeatureStore: ...
    @property
    def quality(self) -> Quality: ...
    @property
    def lineage(self) -> Lineage: ...

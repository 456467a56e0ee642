"""What a dataset is: frozen types and the pure rules that follow from them. Imports nothing else of QuantLake."""

from quantlake.contract.checks import Check, Ordered, Rows
from quantlake.contract.columns import PARTITION_DATE, SOURCE_COLUMNS, Column, TableSpec
from quantlake.contract.datasets import (
    BROKER_COLUMNS,
    Built,
    Dataset,
    Derived,
    EmbeddingIndex,
    FeatureView,
    Rollup,
    Stream,
    Table,
    View,
)
from quantlake.contract.documents import OBJECT_COLUMNS, Document
from quantlake.contract.errors import QuantLakeError
from quantlake.contract.inputs import Input
from quantlake.contract.sessions import Sessions
from quantlake.contract.standing import Settled, Standing
from quantlake.contract.types import Boolean, Bytes, Date, Float, Integer, Price, Size, Text, TextList, Timestamp, Type, Vector

__all__ = [
    "BROKER_COLUMNS", "OBJECT_COLUMNS", "PARTITION_DATE", "SOURCE_COLUMNS", "Boolean", "Built", "Bytes", "Check", "Column", "Dataset", "Date", "Derived",
    "Document", "EmbeddingIndex", "FeatureView", "Float", "Input", "Integer", "Ordered", "Price", "QuantLakeError", "Rollup", "Rows", "Sessions", "Settled", "Size", "Standing", "Stream",
    "Table", "TableSpec", "Text", "TextList", "Timestamp", "Type", "Vector", "View",
]

"""The code location: ``dagster dev -m quantlake.definitions``. Opens nothing."""

from quantlake.orchestration.assemble import assemble
from quantlake.wiring import catalog, platform

defs = assemble(catalog(), platform)

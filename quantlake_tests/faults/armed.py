"""The real code location with a kill in it, for the real command: ``dagster asset materialize -m quantlake_tests.faults.armed``.

``FAULTS_KILL`` names it: ``before`` or ``after``, then the step, as ``steps`` has them.
"""

import os

from quantlake.definitions import defs
from quantlake_tests.faults import steps

__all__ = ["defs"]

_when, _, _step = os.environ["FAULTS_KILL"].partition(" ")
steps.armed(steps.Kill("dagster", _step, _when == "before"), lambda _: None)
steps.landing()

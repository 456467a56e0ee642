"""When Dagster is to build a layer by itself."""

from typing import Any

import dagster as dg

from quantlake.contract import Dataset, Stream

AC = dg.AutomationCondition
# Late dates included, unchanged data versions ignored; what is requested in the same tick goes along in one run.
CHANGED = (
    AC.any_deps_match(AC.data_version_changed() | AC.will_be_requested()).since_last_handled()
    & ~AC.any_deps_missing()
    & ~AC.any_deps_in_progress()
    & ~AC.in_progress()
).with_label("an input's content changed")


def condition_of(dataset: Dataset) -> dg.AutomationCondition[Any] | None:
    """Curated tables are requested by the sensor on landing commits, all further layers by a change of their inputs."""
    return CHANGED if any(not isinstance(i, Stream) for i in dataset.inputs) else None

"""When Dagster is to build a layer by itself."""

from typing import Any

import dagster as dg

from quantlake.contract import Dataset, Stream, Table
from quantlake.orchestration.record import asset_key

AC = dg.AutomationCondition


def condition_of(dataset: Dataset) -> dg.AutomationCondition[Any] | None:
    """Curated tables are requested by the sensor on landing commits, all further layers by a change of their inputs.

    What is looked up over other dates is not waited for, date by date; a sensor of its own sees that it changed (``automation``).
    """
    if isinstance(dataset, Stream | Table):
        return None
    own = {i.dataset.path for i in dataset.reads if i.makes != "none"}
    others = dg.AssetSelection.assets(*(asset_key(i) for i in dataset.inputs if i.path not in own))
    # late dates included, unchanged data versions ignored; what is requested in the same tick goes along in one run
    changed, missing = AC.any_deps_match(AC.data_version_changed() | AC.will_be_requested()), AC.any_deps_missing()
    in_progress = AC.any_deps_in_progress()
    return (
        changed.ignore(others).since_last_handled() & ~missing.ignore(others) & ~in_progress.ignore(others) & ~AC.in_progress()
    ).with_label("an input's content changed")

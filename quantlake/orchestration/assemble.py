"""The graph: assets, jobs and executor from a catalogue. Pure: nothing is opened."""

from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quantlake.contract import Dataset
from quantlake.contract.catalog import Catalog
from quantlake.orchestration.assets import Factory, Observer
from quantlake.orchestration.automation import sensors, sweep
from quantlake.orchestration.record import asset_key
from quantlake.orchestration.schedules import schedules
from quantlake.ports import Platform

LAYERS = ("raw", "curated", "derived", "rollup", "feature", "embedding")


def assemble(
    catalog: Catalog, platform: Callable[[], Platform], *, observe: Observer | None = None, executor: dg.ExecutorDefinition | None = None
) -> dg.Definitions:
    """The one ``Definitions``: an asset a dataset with its checks, a job a layer, in-process steps unless told otherwise."""
    factory = Factory(platform, observe)
    return dg.Definitions(
        assets=[factory.asset(dataset) for dataset in catalog.datasets],
        sensors=sensors(catalog, platform),
        schedules=[sweep(catalog, platform), *schedules(catalog, platform)],
        jobs=[job for layer in LAYERS for job in _jobs(layer, [d for d in catalog.datasets if d.layer == layer])],
        executor=executor or dg.in_process_executor,
    )


def _jobs(layer: str, datasets: list[Dataset]) -> list[UnresolvedAssetJobDefinition]:
    """A job a layer; a job has one partitioning, so a layer whose datasets start on different dates has one a start."""
    starts = sorted({d.start for d in datasets})
    jobs = []
    for start in starts:
        members = [d for d in datasets if d.start == start]
        name = layer if len(starts) == 1 else f"{layer}_from_{start:%Y_%m_%d}"
        selection = dg.AssetSelection.assets(*(asset_key(d) for d in members))
        doc = f"Every asset of the {layer} layer."
        jobs.append(dg.define_asset_job(name, selection=selection, description=doc))
    return jobs

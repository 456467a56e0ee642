"""Faults planted in a table that landing left whole: a dropped range, a doubled one, altered rows. The audit has to name each."""

import random

import numpy as np
import polars as pl

from quantlake.landing.ranges import contains, covering, difference, size
from quantlake_tests.faults.tables import Raw

DROPPED, DOUBLED, ALTERED = "dropped range", "doubled range", "altered payload"


def found(raw: Raw, chance: random.Random, counts: dict[str, int]) -> None:
    """Plant one of each, in a partition of its own; asserts that the audits find them, and nothing else. ``counts`` what they found."""
    stream, lake = raw.stream, raw.lake
    rows = pl.DataFrame(lake.read(stream.spec))
    places_of = {p: sorted(offsets) for p, offsets in rows.group_by("_partition").agg("_offset").iter_rows()}
    assert sorted(places_of) == [0, 1, 2]
    spans = {p: sorted(chance.sample([*offsets, offsets[-1] + 1], 2)) for p, offsets in places_of.items()}
    inside = {p: (pl.col("_partition") == p) & pl.col("_offset").is_between(first, stop, closed="left") for p, (first, stop) in spans.items()}
    places = dict(zip((DROPPED, DOUBLED, ALTERED), chance.sample(sorted(spans), 3), strict=True))
    altered = inside[places[ALTERED]]
    changed = rows.with_columns(pl.when(altered).then(pl.col("number") + 1_000_000).otherwise(pl.col("number")).alias("number"))
    dates = sorted(set(rows["partition_date"].to_list()))
    lake.publish(stream.spec, dates, changed.filter(~inside[places[DROPPED]]).to_arrow())
    lake.append(stream.spec, rows.filter(inside[places[DOUBLED]]).to_arrow(), properties={}, expected={})
    audited = {a.partition: a for a in raw.audited()}
    for p, a in audited.items():
        (fault,) = [name for name, place in places.items() if place == p]
        first, stop = spans[p]
        touched = np.array([o for o in places_of[p] if first <= o < stop])
        known, none = covering(touched)[0].tolist(), np.empty((0, 2), np.int64)
        assert a.content is not None
        assert a.gaps == (len(touched) if fault == DROPPED else 0), a.reason
        assert a.content.unlanded.tolist() == (known if fault == DROPPED else []), a.reason
        assert size(difference(a.gap_ranges, covering(touched)[0] if fault == DROPPED else none)) == 0 or a.doubtful, a.reason
        assert fault != DROPPED or contains(a.gap_ranges, touched).all(), a.reason
        assert a.duplicate_ranges.tolist() == (known if fault == DOUBLED else []), a.reason
        assert a.duplicates == (len(touched) if fault == DOUBLED else 0)
        wrong = rows.filter(altered & pl.col("number").is_not_null()).height if fault == ALTERED else 0
        assert a.content.mismatches == wrong and all(m.columns == ("number",) for m in a.content.mismatched), a.reason
        assert a.clean == (fault == ALTERED and wrong == 0)
        counts[fault] = counts.get(fault, 0) + (not a.clean)

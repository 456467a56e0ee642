"""Which runs a refresh makes of what is stale, and which dates an input makes."""

from datetime import date, timedelta

from quantlake.contract import Dataset, Input
from quantlake.datasets.alt import news
from quantlake.datasets.reference import corporate_actions, rates, symbol_map
from quantlake.orchestration.inputs import Versions
from quantlake.orchestration.staleness import State, grouped, of_stale, spanned, spans

DAY = date(2020, 1, 6)


def test_sparse_dates_of_many_datasets_are_one_run() -> None:
    wanted: dict[Dataset, set[date]] = {
        rates.rates: {DAY + timedelta(days=n) for n in range(100)},
        corporate_actions.actions: {DAY + timedelta(days=40 * n) for n in range(10)},
        symbol_map.symbols: {DAY - timedelta(days=1_000)},
    }
    assert len(grouped(wanted, lambda datasets: {day for d in datasets for day in wanted[d]})) == 8
    found = State({d.path: days for d, days in wanted.items()}, {}, {}, {})
    assert len(of_stale(found, wanted)) == 8
    scattered: dict[Dataset, set[date]] = {rates.rates: {DAY + timedelta(days=400 * n) for n in range(30)}}
    assert len(grouped(scattered)) == len(grouped(scattered, found.holding)) == 30
    assert [(w.first, w.last) for w in of_stale(found, scattered)] == [(DAY, DAY + timedelta(days=11_600))]
    assert spans(scattered[rates.rates], set) == [(DAY, DAY + timedelta(days=11_600))]
    (work,) = spanned(wanted)
    assert (set(work.datasets), work.first, work.last) == (set(wanted), DAY - timedelta(days=1_000), DAY + timedelta(days=360))
    assert spanned({}) == []


def test_dates_without_rows_of_the_very_dataset_are_taken_along() -> None:
    sparse: dict[Dataset, set[date]] = {corporate_actions.actions: {DAY + timedelta(days=40 * n) for n in range(10)}}
    days = sparse[corporate_actions.actions]
    (work,) = grouped(sparse, lambda _: days)
    assert (work.first, work.last) == (DAY, DAY + timedelta(days=360))
    assert len(grouped(sparse, lambda _: days | {DAY + timedelta(days=1)})) == 2, "that date has rows, and is not stale"


def test_a_date_that_only_looks_at_its_neighbours_is_not_made_by_them() -> None:
    dates = [DAY + timedelta(days=n) for n in range(6)]
    for window in (Input(news.news, -3, 0), Input(news.news, None, 0)):
        found = Versions(dates)
        found.add(window, {DAY: "v"})
        assert found.made == {DAY}
        assert found.of[dates[1]][news.news.path]
    readers = Versions(dates)
    readers.add(Input(news.news, -3, 3, makes="readers"), {DAY: "v"})
    assert readers.made == set(dates[:4])

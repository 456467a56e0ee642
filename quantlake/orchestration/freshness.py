"""When Dagster calls an asset overdue: a contract's sessions or greatest lag as a freshness policy."""

import dagster as dg

from quantlake.contract import Dataset, Sessions


def freshness_of(dataset: Dataset) -> dg.FreshnessPolicy:
    """Sessions: materialized since the last session opened, once its rows are due. None: materialized within ``max_lag``.

    Dagster knows weekdays but no holidays: ``schedules`` materializes a closed day's empty partition before it would be overdue.
    Only an asset's latest materialization counts to it, whatever date that is of.
    """
    sessions = dataset.sessions
    if sessions is None:
        return dg.FreshnessPolicy.time_window(fail_window=dataset.max_lag)
    return dg.FreshnessPolicy.cron(_deadline(sessions), sessions.window, sessions.timezone)


def _deadline(sessions: Sessions) -> str:
    """The cron of ``due``; cron counts weekdays from Sunday, a week mask from Monday."""
    next_day = sessions.due <= sessions.opens
    days = sorted((n + 1 + next_day) % 7 for n, open_ in enumerate(sessions.weekdays) if open_ == "1")
    return f"{sessions.due.minute} {sessions.due.hour} * * {','.join(map(str, days))}"

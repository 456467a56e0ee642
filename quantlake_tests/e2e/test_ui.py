"""A backfill of a range launched through the API of the running web server, as the Dagster UI does it."""

from quantlake.adapters.broker.tansu import free_port
from quantlake_tests.e2e.api import Api
from quantlake_tests.e2e.commands import commands, wait_for

DAYS = ["2024-03-04", "2024-03-05", "2024-03-06"]


def test_a_range_backfill_from_the_web_server_is_one_run() -> None:
    port = free_port()
    with commands() as ql, ql.serving("dev", "--port", str(port)) as server:
        api = Api(port)
        wait_for(api.loaded, 90)
        api.stop_sensor("new_data")
        ql.run("simulate", "--start", DAYS[0], "--days", "3", "--symbols", "2")
        backfill = api.launch_backfill(DAYS)
        assert api.ended(backfill, 180) == "COMPLETED_SUCCESS"
        assert [run["status"] for run in api.runs(backfill)] == ["SUCCESS"]  # one run: three dates of eight assets
        counted = ql.sql("select count(distinct partition_date) n from derived_market_bars_1m")
        assert counted == [{"n": 3}]
        server.terminate()
        assert server.wait(60) == 0

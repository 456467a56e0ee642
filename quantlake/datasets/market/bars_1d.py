"""Trade bars of one day. What a bar is: bars.py."""

from quantlake.datasets.market import bars

bars_1d = bars.table(__name__, "1d", "A day of a symbol's trading.", storage_partition="year")

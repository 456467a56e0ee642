"""Trade bars of one hour. What a bar is: bars.py."""

from quantlake.datasets.market import bars

bars_1h = bars.table(__name__, "1h", "A hour of a symbol's trading.", storage_partition="month")

"""Trade bars of one second. What a bar is: bars.py."""

from quantlake.datasets.market import bars

bars_1s = bars.table(__name__, "1s", "A second of a symbol's trading.")

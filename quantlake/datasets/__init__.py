"""The datasets: one file = one dataset, its contract and its pure functions. Nothing here knows a store, Dagster or Kafka."""

"""Which engine runs which batch: plans, routing, and cutting large batches."""

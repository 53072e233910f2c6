"""Many settings next to each other: points, Pareto front, table, page."""

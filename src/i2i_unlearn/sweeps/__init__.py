"""Many settings next to each other: points, table, front, page."""

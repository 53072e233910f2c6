"""Looks for faults by the hundred: kills, bad inputs, flipped bytes, crowds, full disks. `make campaign` runs all."""

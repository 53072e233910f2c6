"""One metric a file. The table of them is `table.py`; this file imports nothing, so that the gate stays light."""

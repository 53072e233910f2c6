"""The pipeline on this machine: each step in a process or a container of its own."""

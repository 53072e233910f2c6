"""The training loop: batches, checkpoints, one run from its inputs to its written model."""

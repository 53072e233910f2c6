"""Image shards: layout, decoding, reading, holdout."""

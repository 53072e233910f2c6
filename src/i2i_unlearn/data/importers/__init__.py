"""Image shards made from folders, Parquet, file lists and the embedded sets."""

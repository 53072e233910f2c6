"""params.yaml and presets: one frozen model for each stage."""

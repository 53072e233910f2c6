"""The verbs of the pipeline: each is a function `run` behind the CLI, DVC and Kubeflow."""

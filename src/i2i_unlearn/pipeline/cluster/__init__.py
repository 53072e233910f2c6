"""Kubeflow Pipelines and Kubernetes as seen from outside: submit a run, watch it, read its logs, end it."""

from i2i_unlearn.pipeline.local.runner import require_kfp

require_kfp()  # and kubernetes, which kfp needs

"""Kubeflow components: one file a step; the work is in `i2i_unlearn.stages`."""

"""Machine unlearning for image-to-image generators."""

__version__ = "0.1.0"

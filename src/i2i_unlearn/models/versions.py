"""Versions of the libraries that were seen to open what this program saves, all tensors read, with equal outputs."""

TRIED: dict[str, tuple[str, ...]] = {
    "transformers": ("4.51.3", "4.57.6", "5.0.0", "5.6.2", "5.9.0", "5.23.0", "5.24.0"),
    "diffusers": ("0.31.0", "0.36.0", "0.42.1"),
}
"""As `make test-versions` has seen them."""
_LIBRARY = {"mae": "transformers", "diffusion": "diffusers", "latent_diffusion": "diffusers"}


def opened_by(family: str) -> dict[str, str]:
    """For a summary: versions of the family's library that open its directories; nothing for other families."""
    library = _LIBRARY.get(family)
    return {} if library is None else {"opened_by": f"{library} {', '.join(TRIED[library])}"}

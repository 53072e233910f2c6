"""`make test-versions`: what we save opens in what users have, and we run on what pyproject.toml allows.

For each version of READERS and the lowest and newest that pyproject.toml allows, installed into a folder of its own:
the library alone opens saved models, without a tensor missing or left over, and computes what the pinned one does. On
the lowest and the newest of a range, this project's own tests of models run as well. It needs the package index and
about 20 minutes, so CI does not run it. At the end stands the table for models/versions.py.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from i2i_unlearn.models.versions import TRIED
from tests.models.latent_directory import write_latent_directory

ROOT = Path(__file__).parents[2]
READERS = {"transformers": ["4.51.3", "4.57.6", "5.0.0", "5.6.2"], "diffusers": ["0.31.0"], "peft": []}
"""Versions below our range that users still have."""
KINDS = {"transformers": ["mae"], "diffusers": ["diffusion", "latent_diffusion"], "peft": []}
TESTS = {
    "transformers": ["tests/models/test_mae.py", "tests/models/test_whole_directory.py", "tests/models/published"],
    "diffusers": ["tests/models/test_diffusion.py", "tests/models/test_diffusion_latent.py"],
    "peft": ["tests/method/test_adapters.py"],
}
TOLERANCE = 1e-5


def main() -> None:
    """Print a line for each version; exit status 1 if one fails."""
    failed, passed = [], {library: [] for library in READERS}
    only = sys.argv[1:] or list(READERS)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        saved = dict(_saved(folder))
        expected = {kind: _read(kind, path, folder, "") for kind, path in saved.items()}
        for library in only:
            for asked, own_tests in _versions(library):
                place = folder / "libraries" / f"{library}{asked}"
                found = _install(library, asked, place)
                fault = _fault(library, saved, expected, place, own_tests)
                print(f"{library} {found}: {fault or 'ok'}{' with our tests' if own_tests else ''}", flush=True)
                (failed if fault else passed[library]).append(found)
            passed[library].append(version(library))  # the pinned one, by which the others are judged
    table = {library: sorted(set(passed[library]), key=_order) for library in only if KINDS[library]}
    print(f"models/versions.py: TRIED = {table}")
    wrong = [library for library in table if list(TRIED[library]) != table[library]]
    if wrong:
        print(f"TRIED differs for {', '.join(wrong)}; write what passed into models/versions.py")
    sys.exit(bool(failed or wrong))


def _versions(library: str) -> Iterator[tuple[str, bool]]:
    """What to install, and whether it is an end of our own range."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (ours,) = (one for one in map(Requirement, content["project"]["dependencies"]) if one.name == library)
    lowest = next(one.version for one in ours.specifier if one.operator == ">=")
    yield from ((f"=={number}", False) for number in READERS[library])
    yield f"=={lowest}", True
    yield str(ours.specifier), True


def _install(library: str, asked: str, place: Path) -> str:
    alone = ["--no-deps"] if library == "peft" else []  # its dependency on torch is fulfilled already
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ran = subprocess.run(
        [*pip, *alone, "--target", place, f"{library}{asked}"], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(f"{library}{asked} cannot be installed: {ran.stderr.strip().splitlines()[-1]}")
    (info,) = place.glob(f"{library}-*.dist-info")
    return info.name.removeprefix(f"{library}-").removesuffix(".dist-info")


def _saved(folder: Path) -> Iterator[tuple[str, Path]]:
    """A model of each family that a library opens, as this project saves it."""
    from i2i_unlearn.models import family_named, load_model

    sizes = {"image_size": 16, "num_channels": 3}
    small = {"mae": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}}
    small["mae"] |= {f"decoder_{name}": value for name, value in small["mae"].items()} | {"patch_size": 4}
    small["diffusion"] = {"block_out_channels": [16, 32], "attention_head_dim": 8}
    for kind, architecture in small.items():
        model = family_named(kind).create(architecture, **sizes, generator=torch.Generator().manual_seed(0))
        model.save(folder / kind)
        yield kind, folder / kind
    load_model(write_latent_directory(folder / "latent")).save(folder / "latent_diffusion")
    yield "latent_diffusion", folder / "latent_diffusion"


def _fault(
    library: str, saved: dict[str, Path], expected: dict[str, dict[str, torch.Tensor]], place: Path, own_tests: bool
) -> str:
    """What is wrong with this version; nothing = nothing."""
    for kind in KINDS[library]:
        try:
            found = _read(kind, saved[kind], place.parent, str(place))
        except subprocess.CalledProcessError as error:
            return f"{kind}: {error.stderr.strip().splitlines()[-1]}"
        for name, tensor in expected[kind].items():
            if not torch.allclose(found[name], tensor, atol=TOLERANCE):
                return f"{kind}: {name} differs by {(found[name] - tensor).abs().max():.2g}"
    if not own_tests:
        return ""
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *TESTS[library]]
    ran = subprocess.run(tests, cwd=ROOT, env=_environment(str(place)), capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else ran.stdout.strip().splitlines()[-1]


def _read(kind: str, model: Path, folder: Path, place: str) -> dict[str, torch.Tensor]:
    out = folder / f"{kind}.pt"
    reader = [sys.executable, str(Path(__file__).with_name("reader.py")), kind, str(model), str(out)]
    subprocess.run(reader, env=_environment(place), capture_output=True, text=True, check=True)
    found: dict[str, torch.Tensor] = torch.load(out, weights_only=True)
    return found


def _environment(place: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (place, str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def _order(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))


if __name__ == "__main__":
    main()

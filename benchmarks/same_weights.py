"""Digests of the weights that tiny runs end with: every objective, adapters and training from scratch, per family.

    python benchmarks/same_weights.py > weights.txt

Where `make demo` has run, digests of its models and of its metrics (without seconds, memory and keyed codes) follow.
To show that a change of the code changes no weight, run it in the root of both checkouts on one machine, and compare
the tables with `diff`. It also runs in a checkout of 31a423e or earlier, copied there: modules that have moved since
are then found under their names of that time. Compare runs with the same torch version and device only.
"""

import hashlib
import importlib
import inspect
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path.cwd() / "src"), str(Path.cwd())]

SEED, STEPS = 3, 4


def found(*names: str) -> Any:
    """The first of these modules that there is, today's name first."""
    for name in names:
        with suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    raise SystemExit(f"none of {', '.join(names)}: run this in the root of a checkout, with its dependencies installed")


runs = found("tests.support.shared_runs", "tests.shared_runs")
engine = found("i2i_unlearn.training.engine", "i2i_unlearn.engine")
sampling = found("i2i_unlearn.training.sampling", "i2i_unlearn.sampling")
processes = found("i2i_unlearn.method.processes", "i2i_unlearn.processes")
adapters = found("i2i_unlearn.method.adapters", "i2i_unlearn.adapters")
own_loss = found("i2i_unlearn.method.objectives.own_loss", "i2i_unlearn.objectives.own_loss")
objectives = found("i2i_unlearn.method.objectives", "i2i_unlearn.objectives")
operators = found("i2i_unlearn.models.operators", "i2i_unlearn.operators")
base = found("i2i_unlearn.models.base")
device = found("i2i_unlearn.support.device", "i2i_unlearn.engine")


def digest(tensors: dict[str, Any]) -> str:
    """sha256 over names and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def trained_from_scratch(family: str) -> dict[str, Any]:
    """The weights after `pretrain`'s objective, with a moving average, on the retain set."""
    model = runs.model_of(family, SEED)
    schedule = engine.Schedule(
        num_steps=STEPS, learning_rate=0.01, weight_decay=0.1, warmup_steps=1, clip_norm=1.0, precision="fp32",
        average_decay=0.9, seed=SEED,
    )  # fmt: skip
    pool = sampling.single_pool(runs.pools()["retain"].images_BCHW, runs.BATCH)
    sampler = sampling.Sampler({"train": pool}, operators.make_operator("random_patches", 0.75, 4), SEED)
    store = runs.Kept() if hasattr(runs, "Kept") else runs.NoStore()
    objective = own_loss.OwnLoss(SEED, base.training_phases(model))
    with device.num_threads(1):
        engine.train(model, objective, sampler, None, schedule, store, engine.Silent(), processes.ALONE)
    return dict(model.state_dict())


def adapted(family: str) -> dict[str, Any]:
    """The weights with low-rank adapters whose second factor is one constant, merged."""
    model = runs.model_of(family, SEED)
    with device.num_threads(1):
        scope = {"scope": "lora"} if "scope" in inspect.signature(adapters.narrow).parameters else {}
        narrowed = adapters.narrow(model, **scope, rank=2, alpha=4, seed=SEED)
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.data.fill_(0.01)
        narrowed.finish()
    return dict(model.state_dict())


def of_the_demo() -> dict[str, str]:
    """Digests of what the stages of the demo wrote here; {} where it has not run."""
    digests = {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path().glob("artifacts/*/model/*.safetensors")
    }
    for path in Path().glob("artifacts/evaluation/metrics.json"):
        metrics = json.loads(path.read_bytes())
        kept = {key: value for key, value in metrics.items() if key not in ("cost", "manifest_sha256")}
        digests[str(path)] = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    return digests


def main() -> None:
    """Print the table."""
    for family in runs.FAMILIES:
        for name in objectives.OBJECTIVES:
            print(f"{family:10} {name:22} {digest(runs.trained(family, name, processes.ALONE, STEPS))}", flush=True)
        print(f"{family:10} {'pretrain':22} {digest(trained_from_scratch(family))}")
        print(f"{family:10} {'lora':22} {digest(adapted(family))}", flush=True)
    for path, found_there in sorted(of_the_demo().items()):
        print(path, found_there)


if __name__ == "__main__":
    main()

"""Step `check-sweep`: a mistyped field stops the sweep in seconds; what comes out is the list of points."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check_sweep(
    source: str,
    sha256: str,
    requests: str,
    erased: str,
    objectives: str,
    alphas: str,
    epsilons: str,
    num_steps: int,
    operator: str,
    keep_fraction: float,
    policy: str,
    kind: str,
    device: str,
    accelerator_count: str,
    seed: int,
    checkpoint_uri: str,
    sections: dict,
) -> list[dict]:
    """Check every field of the sweep's form; return its points: objectives times the values of their dial."""
    from i2i_unlearn.pipeline.form import check_sweep_form

    form = dict(source=source, sha256=sha256, requests=requests, erased=erased, objectives=objectives, alphas=alphas,
                epsilons=epsilons, num_steps=num_steps, operator=operator, keep_fraction=keep_fraction, policy=policy,
                kind=kind, device=device, seed=seed, checkpoint_uri=checkpoint_uri)  # fmt: skip
    return check_sweep_form(form, sections, accelerator_count=accelerator_count)

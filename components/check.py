"""Step `check`: a mistyped field stops the run in seconds, not after the training."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(
    source: str,
    sha256: str,
    requests: str,
    erased: str,
    objective: str,
    alpha: float,
    epsilon: float,
    num_steps: int,
    operator: str,
    keep_fraction: float,
    policy: str,
    kind: str,
    device: str,
    accelerator_count: str,
    train_job_nodes: int,
    train_job_gpus: int,
    train_job_queue: str,
    train_job_priority: str,
    seed: int,
    checkpoint_uri: str,
    experiment: str,
    model_name: str,
    promote: str,
    show_forget_images: bool,
    sections: dict,
) -> dict:
    """Check every field of the run form together with the compiled settings; return what every stage will use."""
    from i2i_unlearn.pipeline.form import check_form

    form = dict(source=source, sha256=sha256, requests=requests, erased=erased, objective=objective, alpha=alpha,
                epsilon=epsilon, num_steps=num_steps, operator=operator, keep_fraction=keep_fraction, policy=policy,
                kind=kind, device=device, seed=seed, checkpoint_uri=checkpoint_uri, experiment=experiment,
                model_name=model_name, show_forget_images=show_forget_images, nodes=train_job_nodes,
                gpus_per_node=train_job_gpus, queue=train_job_queue, priority=train_job_priority)  # fmt: skip
    return check_form(form, sections, promote=promote, accelerator_count=accelerator_count)

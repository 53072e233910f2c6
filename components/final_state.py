"""Step `final-state`: runs last, also after a failure."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def final_state(status: dsl.PipelineTaskFinalStatus, requests: str, model_name: str, state: dsl.Output[dsl.Markdown]):
    """Show how the run ended: its state and, after a failure, what stopped it."""
    from i2i_unlearn.pipeline.step_outputs import show_final_state

    show_final_state(status, state, requests=requests, model_name=model_name)

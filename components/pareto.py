"""Step `pareto`: see `i2i_unlearn.sweeps.table`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pareto(points: dsl.Input[list[dsl.Artifact]], table: dsl.Output[dsl.Artifact], page: dsl.Output[dsl.HTML]):
    """Show forgetting against retention of all points, with the front, the original and the reference marked."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.sweeps import table as stage

    facts = stage.run(step_outputs.paths(points), table.path)
    step_outputs.show_sweep(facts, table, page)

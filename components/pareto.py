"""Step `pareto`: see `i2i_unlearn.stages.pareto`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pareto(points: dsl.Input[list[dsl.Artifact]], table: dsl.Output[dsl.Artifact], page: dsl.Output[dsl.HTML]):
    """Show forgetting against retention of all points, with the front, the original and the reference marked."""
    from i2i_unlearn import kfp_artifacts
    from i2i_unlearn.stages import pareto as stage

    facts = stage.run(kfp_artifacts.paths(points), table.path)
    kfp_artifacts.show_sweep(facts, table, page)

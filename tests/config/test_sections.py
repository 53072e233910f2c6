import math

import pytest
import yaml

from i2i_unlearn.config.base import SHARED_KEYS
from i2i_unlearn.config.sections import (
    CONFIGS,
    EvaluateConfig,
    PretrainConfig,
    ReferenceConfig,
    SnapshotConfig,
    SplitConfig,
    UnlearnConfig,
    load_params,
)
from i2i_unlearn.support.errors import UserError

MORE = {"evaluate": {"policies": {}}}
"""What the command line adds to the section."""


def build(section, params):
    return CONFIGS[section].from_params(params, **MORE.get(section, {}))


@pytest.mark.parametrize("section", CONFIGS)
def test_the_repositorys_params_fill_every_config(section, params_with):
    params = load_params("params.yaml")
    build(section, params)
    build(section, params_with())


def test_every_key_of_the_repositorys_params_is_used():
    params = load_params("params.yaml")
    assert set(params) == set(SHARED_KEYS) | set(CONFIGS)


def test_unknown_mistyped_and_missing_keys_are_told_in_one_message(params_with):
    params = params_with(unlearn={"alhpa": 1, "num_steps": "many"}, keep_fraction=1.5)
    del params["unlearn"]["objective"], params["seed"]
    with pytest.raises(UserError) as error:
        UnlearnConfig.from_params(params)
    message = str(error.value)
    assert "\n" not in message
    for told in (
        "unlearn.alhpa is not a known key",
        "unlearn.num_steps='many'",
        "keep_fraction=1.5",  # a shared key has no section before it
        "unlearn.objective is missing",
        "; seed is missing",
    ):
        assert told in f"; {message}"


@pytest.mark.parametrize("value", [30, 30.0, "30", "30.0"])
def test_numbers_from_a_run_form_are_the_same_number(params_with, value):
    plain = UnlearnConfig.from_params(params_with(unlearn={"num_steps": 30}))
    config = UnlearnConfig.from_params(params_with(unlearn={"num_steps": value}))
    assert (config.num_steps, type(config.num_steps)) == (30, int)
    assert config.digest() == plain.digest()


@pytest.mark.parametrize("value", [8, 8.0, "8", "8.0"])
def test_sizes_of_the_architecture_are_whole_numbers_however_they_come(params_with, value):
    architecture = PretrainConfig.from_params(
        params_with(pretrain={"architecture": {"hidden_size": value}})
    ).architecture
    assert (architecture["hidden_size"], type(architecture["hidden_size"])) == (8, int)
    assert architecture["initializer_range"] == 0.1  # as it was


def test_a_switch_of_the_architecture_stays_a_switch(params_with):
    params = params_with(pretrain={"architecture": {"norm_pix_loss": True}})
    assert PretrainConfig.from_params(params).architecture["norm_pix_loss"] is True


@pytest.mark.parametrize("value", [30.5, "30.5", -1, 0, "", None, [30]])
def test_what_is_no_number_of_steps_is_refused(params_with, value):
    with pytest.raises(UserError, match=r"^unlearn\.num_steps="):
        UnlearnConfig.from_params(params_with(unlearn={"num_steps": value}))


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, ".nan", "x"])
def test_alpha_is_a_finite_number_not_below_zero(params_with, value):
    with pytest.raises(UserError, match=r"^unlearn\.alpha="):
        UnlearnConfig.from_params(params_with(unlearn={"alpha": value}))


def test_alpha_zero_is_allowed(params_with):
    assert UnlearnConfig.from_params(params_with(unlearn={"alpha": "0"})).alpha == 0.0


@pytest.mark.parametrize(
    ("line", "ids"), [("digit-3, digit-5", ["digit-3", "digit-5"]), ("", []), (["a", "b"], ["a", "b"])]
)
def test_ids_may_come_as_one_line(params_with, line, ids):
    assert SplitConfig.from_params(params_with(split={"requests": line})).requests == ids


def test_a_config_cannot_be_changed(params_with):
    config = UnlearnConfig.from_params(params_with())
    with pytest.raises(Exception, match="frozen"):
        config.alpha = 3.0


def test_the_digest_tells_results_apart_and_nothing_else(params_with):
    base = UnlearnConfig.from_params(params_with())
    where = UnlearnConfig.from_params(params_with(checkpoint_uri="elsewhere", unlearn={"checkpoint_every_steps": 7}))
    assert where.digest() == base.digest()
    for changes in ({"seed": 1}, {"num_threads": 2}, {"unlearn": {"alpha": 2.5}}, {"keep_fraction": 0.5}):
        assert UnlearnConfig.from_params(params_with(**changes)).digest() != base.digest()


def test_a_policy_that_came_through_a_pipeline_has_the_same_digest(params_with):
    # Kubeflow hands on every number of a structure as a double.
    line = {"name": "forgetting", "at_most": -1.2, "at_least": -3}
    policies = [
        {"forgotten": {"schema_version": number(1), "lines": [line | {"at_least": number(-3)}]}}
        for number in (int, float)
    ]
    one, other = (EvaluateConfig.from_params(params_with(), policies=content).digest() for content in policies)
    assert one == other


def test_the_reference_is_trained_by_the_recipe_of_pretrain(params_with):
    params = params_with(pretrain={"num_steps": 77, "average_decay": 0.5}, reference={"seed_offset": 5})
    config = ReferenceConfig.from_params(params)
    original = PretrainConfig.from_params(params)
    assert (config.num_steps, config.average_decay, config.seed_offset) == (77, 0.5, 5)
    same = set(ReferenceConfig.model_fields) & set(PretrainConfig.model_fields)
    assert config.model_dump(include=same) == original.model_dump(include=same)


@pytest.mark.parametrize("section", sorted(CONFIGS))
def test_a_missing_section_is_named(params_with, section):
    params = params_with()
    del params[section]
    with pytest.raises(UserError, match=f"no section `{section}`"):
        build(section, params)


@pytest.mark.parametrize("section", sorted(CONFIGS))
@pytest.mark.parametrize("content", [None, 3, ["a"]])
def test_a_section_without_keys_is_refused(params_with, section, content):
    params = {**params_with(), section: content}
    with pytest.raises(UserError, match=f"section `{section}` must hold keys"):
        build(section, params)


def test_a_shared_key_inside_a_section_is_refused_with_where_it_belongs(params_with):
    with pytest.raises(UserError, match=r"unlearn\.seed is set outside this section"):
        UnlearnConfig.from_params(params_with(unlearn={"seed": 3}))


def test_a_key_of_the_recipe_inside_reference_is_refused(params_with):
    with pytest.raises(UserError, match=r"reference\.num_steps is set outside"):
        ReferenceConfig.from_params(params_with(reference={"num_steps": 3}))


def test_what_the_command_line_fills_cannot_be_set_in_the_section(params_with):
    with pytest.raises(UserError, match=r"evaluate\.policies is set outside"):
        build("evaluate", params_with(evaluate={"policies": {}}))


def test_a_key_that_is_no_word_is_refused(params_with):
    with pytest.raises(UserError, match=r"snapshot\.3"):
        SnapshotConfig.from_params(params_with(snapshot={3: "three"}))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("seed: [1", "not valid YAML"),
        ("- seed", "must hold keys and sections, found list"),
        ("", "must hold keys and sections, found NoneType"),
        ("seed: 1\nsead: 2\n3: 4\n", "unknown keys 3, sead; known are seed"),
        (b"\xff\xfe\x00", "not valid YAML"),
    ],
)
def test_a_wrong_params_file_is_told_in_one_line(tmp_path, content, told):
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=told) as error:
        load_params(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_params_file_says_where_to_run(tmp_path):
    with pytest.raises(UserError, match="run the command from the folder that holds params.yaml"):
        load_params(tmp_path / "params.yaml")


def test_params_read_are_params_written(tmp_path, params_with):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params_with()))
    assert load_params(path) == params_with()


def test_audits_come_from_a_run_form_as_doubles_and_text(params_with):
    plain = build("evaluate", params_with())
    given = plain.audits.model_dump() | {"run": ",".join(plain.audits.run), "max_images": 300.0}
    form = build("evaluate", params_with(evaluate={"audits": given}))
    assert form.audits == plain.audits
    assert form.digest() == plain.digest()

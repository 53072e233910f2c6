import math

import pytest
import yaml

from i2i_unlearn.config.base import SHARED_KEYS
from i2i_unlearn.config.sections import (
    CONFIGS,
    EvaluateConfig,
    PretrainConfig,
    ReferenceConfig,
    SplitConfig,
    UnlearnConfig,
    as_read,
    load_params,
)
from i2i_unlearn.support.errors import UserError
from tests.support.says import says

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
    params = params_with(pretrain={"architecture": {"hidden_size": value, "norm_pix_loss": True}})
    architecture = PretrainConfig.from_params(params).architecture
    assert (architecture["hidden_size"], type(architecture["hidden_size"])) == (8, int)
    assert architecture["initializer_range"] == 0.1  # as it was
    assert architecture["norm_pix_loss"] is True  # a switch stays a switch


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("num_steps", value) for value in (30.5, "30.5", -1, 0, "", None, [30])),
        *(("alpha", value) for value in (math.nan, math.inf, -0.1, ".nan", "x")),
    ],
)
def test_a_number_out_of_range_is_refused(params_with, key, value):
    with pytest.raises(UserError, match=rf"^unlearn\.{key}="):
        UnlearnConfig.from_params(params_with(unlearn={key: value}))


@pytest.mark.parametrize(
    ("section", "changes", "told"),
    [
        ("unlearn", {"num_steps": 2**53 + 1}, "unlearn.num_steps=9007199254740993: whole numbers must be below 2^53"),
        ("unlearn", {"num_steps": "9007199254740993"}, "below 2^53"),
        ("unlearn", {"alpha": True}, "unlearn.alpha=True: expected a number"),
        ("sweep", {"alphas": [0.5, True]}, "sweep.alphas=[0.5, True]: expected a number"),
        ("split", {"near_duplicates": {"hash_bits": True}}, "split.near_duplicates.hash_bits=True: expected a number"),
        ("split", {"requests": ["{{$.inputs}}"]}, "Kubeflow"),
        ("split", {"requests": [12]}, "split.requests.0=12: Input should be a valid string; write it in quotes"),
        ("split", {"erased": None}, "split.erased=None: Input should be a valid list; write a list, [] for none"),
        ("snapshot", {"source": ""}, "snapshot.source=''"),
        ("snapshot", {"checkpoint": {"shape": {"width": math.nan}}}, "shape.width: Input should be a finite number"),
        ("pretrain", {"architecture": {"hidden_size": "1e999"}}, "hidden_size: Input should be a finite number"),
        (
            "cluster",
            {"mlflow_tracking_uri": "mlflow:5000"},
            "cluster.mlflow_tracking_uri='mlflow:5000': is not an address",
        ),
        ("register", {"experiment": " "}, "register.experiment=' ': is blank"),
        ("promote", {"ledger": ""}, "promote.ledger='': is blank"),
    ],
)
def test_what_another_door_would_change_or_drop_is_refused(params_with, section, changes, told):
    params = params_with()
    params[section] = {
        **params[section],
        **{key: {**params[section][key], **new} if isinstance(new, dict) else new for key, new in changes.items()},
    }
    with pytest.raises(UserError) as error:
        build(section, params)
    assert told in str(error.value)


def test_settings_are_recorded_in_one_spelling_however_they_were_written(params_with):
    # PyYAML takes 1e-4 for text; a run form sends every number as a double.
    read = as_read(params_with(unlearn={"learning_rate": "1e-4", "num_steps": 30.0, "alpha": "2"}, seed="3"))
    assert (read["unlearn"]["learning_rate"], read["unlearn"]["num_steps"], read["unlearn"]["alpha"]) == (1e-4, 30, 2)
    assert (read["seed"], type(read["seed"])) == (3, int)
    assert set(read["unlearn"]) == set(params_with()["unlearn"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_processes": 3}, "unlearn: batch_size=16 is not a multiple of num_processes=3; change one"),
        ({"proxy_ratio": 0.7, "synthetic_ratio": 0.6}, "unlearn.synthetic_ratio=0.6: together with"),
    ],
)
def test_a_fault_of_several_keys_shows_these_alone(params_with, changes, told):
    with pytest.raises(UserError) as error:
        UnlearnConfig.from_params(params_with(unlearn={"batch_size": 16, **changes}))
    assert str(error.value).startswith(told)


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


@pytest.mark.parametrize("section", sorted(set(CONFIGS) - {"request"}))  # which older projects lack
def test_a_section_that_is_missing_or_holds_no_keys_is_named(params_with, section):
    params = params_with()
    del params[section]
    with says(UserError, f"no section `{section}`"):
        build(section, params)
    for content in (None, 3, ["a"]):
        with says(UserError, f"section `{section}` must hold keys", repr(content)):
            build(section, {**params, section: content})


@pytest.mark.parametrize(
    ("section", "content", "told"),
    [
        ("unlearn", {"seed": 3}, "unlearn.seed is set outside this section"),
        ("reference", {"num_steps": 3}, "reference.num_steps is set outside"),  # the recipe is that of pretrain
        ("evaluate", {"policies": {}}, "evaluate.policies is set outside"),  # the command line reads them
        ("snapshot", {3: "three"}, "snapshot.3 is not a known key"),
    ],
)
def test_a_key_that_the_section_must_not_hold_is_refused(params_with, section, content, told):
    with says(UserError, told):
        build(section, params_with(**{section: content}))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "run the command from the folder that holds params.yaml"),
        ("seed: [1", "not valid YAML"),
        ("- seed", "must hold keys and sections, found list"),
        ("", "must hold keys and sections, found NoneType"),
        ("seed: 1\nsead: 2\n3: 4\n", "unknown keys 3, sead; known are seed"),
        (b"\xff\xfe\x00", "not valid YAML"),
    ],
)
def test_a_wrong_or_missing_params_file_is_told_in_one_line(tmp_path, content, told):
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with says(UserError, str(path), told):
        load_params(path)


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


@pytest.mark.parametrize(
    "name", ["a.b", "a%b", "it's", 'a"b', "a/b", "a:b", "a@b", "a`b", "a\\b", "a\nb", " a", "", "x" * 201]
)
def test_a_model_name_that_cannot_be_registered_is_refused_by_every_step(tmp_path, params_with, name):
    """MLflow refuses the first of these only when the model is registered, after the training."""
    params = params_with(register={"model_name": name})
    with says(UserError, "register.model_name", repr(name)):
        build("register", params)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with says(UserError, "register.model_name", repr(name)):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["a", "a b", "Gesichter-ä_2"])
def test_other_model_names_are_kept(params_with, name):
    assert build("register", params_with(register={"model_name": name})).model_name == name


def test_a_project_from_before_there_were_several_references_keeps_its_choice(params_with):
    def counted(**section):
        return ReferenceConfig.from_params(params_with(reference=section)).count

    assert counted(kind="none") == 0
    assert counted(kind="retrain") == counted() == 1
    with says(UserError, "reference.kind", "not a known key"):
        counted(kind="some")

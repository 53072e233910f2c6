import yaml

from i2i_unlearn.project.params_file import Setting, params_text
from i2i_unlearn.support.package_data import package_data

TEMPLATE = """\
# The head.

seed: 0
operator: center_hole     # one | two
keep_fraction: 0.75       # of the area,
                          # in two lines
operator_patch_size: 7
device: cpu
num_threads: 1

split:
  requests: [digit-3]

unlearn:
  rate: 0.1
  architecture:
    width: 3
    depth: 2
  last: 1
"""


def test_shared_keys_and_sections_come_in_the_order_in_which_people_change_them():
    text = params_text(TEMPLATE, [])
    assert list(yaml.safe_load(text)) == [
        *("operator", "keep_fraction", "operator_patch_size", "device", "num_threads", "seed"),
        *("unlearn", "split"),
    ]
    assert yaml.safe_load(text) == yaml.safe_load(TEMPLATE)


def test_a_value_brings_its_reason_and_takes_the_old_comment_away():
    changed = [
        Setting("keep_fraction", 0.5, "half"),
        Setting("split.requests", [], "none yet"),
        Setting("unlearn.architecture", {"width": 16}, "the model's"),
        Setting("unlearn.last", "", "empty"),
    ]
    text = params_text(TEMPLATE, changed)
    content = yaml.safe_load(text)
    assert content["keep_fraction"] == 0.5
    assert content["split"] == {"requests": []}
    assert content["unlearn"] == {"rate": 0.1, "architecture": {"width": 16}, "last": ""}
    assert "keep_fraction: 0.5   # half\n" in text
    assert "in two lines" not in text


def test_every_setting_of_the_package_stays_one():
    template = package_data("params.yaml").read_text()
    assert yaml.safe_load(params_text(template, [])) == yaml.safe_load(template)

"""What `sweep` says before it starts and when it is done."""

from i2i_unlearn.cli.sweep import cost, rows
from i2i_unlearn.support.files import write_json
from i2i_unlearn.sweeps.run import _Told


def test_the_cost_is_told_by_what_one_point_took_here(tmp_path):
    for name, seconds in (("unlearned", 20), ("evaluation", 100)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "summary.json", {"seconds": seconds})
    where = (tmp_path / "unlearned", tmp_path / "evaluation")
    # 3 points, 2 at once: two rounds of 120 s
    assert cost(3, 2, *where) == (
        "3 points, at most about 4 min 00 s, by what unlearn (20.0 s) and evaluate (1 min 40 s) took here"
    )
    assert "the first one shows" in cost(3, 2, tmp_path, tmp_path)


def test_the_table_has_numbers_and_says_where_there_are_none():
    def score(value):
        return {"value": value}

    point = {"name": "max_loss alpha 1", "gate": "fail", "forgetting": score(-8.74), "retain": score(0.1)}
    assert rows([{**point, "unseen": score(-1.0), "gap": score(None)}]) == [
        ("max_loss alpha 1", "-8.74", "+0.10", "-1.00", "-", "fail")
    ]


def test_the_time_left_is_told_once_a_point_was_computed_and_not_after_the_last():
    lines = []
    told = _Told(3, lines.append)
    told({"point": "a", "computed": "already"})
    told({"point": "b", "computed": "new", "outcome": "pass", "seconds": 1})
    told({"point": "c", "computed": "new", "outcome": "fail", "seconds": 1})
    assert [" left" in line for line in lines] == [False, True, False]

from datetime import date
from pathlib import Path

from i2i_unlearn.config import SplitConfig, load_params
from i2i_unlearn.data.deadlines import standings
from i2i_unlearn.data.requests import make_request

CONFIG = SplitConfig.from_params(load_params(Path(__file__).parents[2] / "params.yaml"))


def found(*dues, requests=(), erased=(), forgotten=(), today=date(2026, 3, 1)):
    asked = {
        id_: make_request(id=id_, received="2026-02-01", due=due, basis="asked", selector={"labels": ["a"]})
        for id_, due in dues
    }
    config = CONFIG.model_copy(update={"requests": list(requests), "erased": list(erased)})
    return standings(asked, config, forgotten, today)


def test_the_state_follows_from_params_and_champion():
    dues = [(id_, "2026-03-01") for id_ in ("a", "b", "c", "d")]
    states = {one.id: one.state for one in found(*dues, requests=["b", "c"], erased=["d"], forgotten=["c", "d"])}
    assert states == {"a": "open", "b": "active", "c": "promoted", "d": "erased"}


def test_days_are_counted_to_the_last_day():
    assert [one.days_left for one in found(("a", "2026-02-27"), ("b", "2026-03-01"))] == [-2, 0]


def test_a_request_is_overdue_from_the_day_after_its_last():
    assert [one.overdue for one in found(("a", "2026-02-28"), ("b", "2026-03-01"))] == [True, False]


def test_a_fulfilled_request_is_never_overdue():
    assert not found(("a", "2026-02-02"), erased=["a"])[0].overdue
    assert not found(("a", "2026-02-02"), requests=["a"], forgotten=["a"])[0].overdue


def test_overdue_ones_come_first_and_fulfilled_ones_last():
    dues = [("soon", "2026-03-01"), ("late", "2026-02-20"), ("later", "2026-02-25"), ("done", "2026-02-02")]
    assert [one.id for one in found(*dues, requests=["soon", "late"], erased=["done"])] == [
        "late",
        "later",
        "soon",
        "done",
    ]

from datetime import date
from pathlib import Path

import pytest

from i2i_unlearn.config.sections import SplitConfig, load_params
from i2i_unlearn.data.request import make_request, read_request, write_request
from i2i_unlearn.registry.requests import RegistryFacts, deadlines, standings
from i2i_unlearn.support.errors import UserError

CONFIG = SplitConfig.from_params(load_params(Path(__file__).parents[2] / "params.yaml"))


def request(id_, due, **more):
    values = {"received": "2026-02-01", "basis": "asked", "selector": {"labels": ["a"]}, **more}
    return make_request(id=id_, due=due, **values)


def found(*dues, requests=(), erased=(), today=date(2026, 3, 1), unreachable="", **known):
    asked = {id_: request(id_, due) for id_, due in dues}
    config = CONFIG.model_copy(update={"requests": list(requests), "erased": list(erased)})
    facts = RegistryFacts(**{key: frozenset(ids) for key, ids in known.items()}, unreachable=unreachable)
    return standings(asked, config, facts, today)


def test_the_state_follows_from_params_and_registry():
    dues = [(id_, "2026-03-01") for id_ in ("a", "b", "c", "d", "e")]
    known = {"tried": ["b", "c", "d"], "gated": ["c", "d"], "promoted": ["d"]}
    states = {one.id: one.state for one in found(*dues, requests=["b", "c"], erased=["e"], **known)}
    assert states == {"a": "open", "b": "not passed", "c": "gated", "d": "promoted", "e": "promoted"}


def test_what_is_open_past_its_last_day_is_expired_and_what_is_half_done_is_overdue():
    dues = [(id_, "2026-02-27") for id_ in ("a", "b", "c", "d")]
    all_of = found(*dues, tried=["b", "c", "d"], gated=["c", "d"], promoted=["d"])
    assert {one.id: (one.state, one.overdue) for one in all_of} == {
        "a": ("expired", True),
        "b": ("not passed", True),
        "c": ("gated", True),
        "d": ("promoted", False),
    }


def test_without_the_registry_only_what_params_or_record_say_is_known():
    dues = [(id_, "2026-02-27") for id_ in ("a", "b", "c")]
    all_of = found(*dues, erased=["b"], promoted=["c"], unreachable="no connection")
    assert {one.id: (one.state, one.overdue) for one in all_of} == {
        "a": ("unknown", True),
        "b": ("promoted", False),
        "c": ("promoted", False),
    }


def test_days_are_counted_to_the_last_day_and_a_request_is_overdue_from_the_day_after():
    dues = [("a", "2026-02-27"), ("b", "2026-02-28"), ("c", "2026-03-01")]
    assert [(one.days_left, one.overdue) for one in found(*dues)] == [(-2, True), (-1, True), (0, False)]


def test_overdue_ones_come_first_and_promoted_ones_last():
    dues = [("soon", "2026-03-01"), ("late", "2026-02-20"), ("later", "2026-02-25"), ("done", "2026-02-02")]
    assert [one.id for one in found(*dues, requests=["soon", "late"], erased=["done"])] == [
        "late",
        "later",
        "soon",
        "done",
    ]


# --- extensions and pauses ---

PAUSE = {"since": "2026-02-10", "until": "2026-02-15", "reason": "identity asked for"}  # 5 days


def standing(today, **more):
    (one,) = standings({"a": request("a", "2026-03-01", **more)}, CONFIG, RegistryFacts(), today)
    return one


def test_a_request_is_extended_if_its_last_day_is_later_than_one_month_after_receipt():
    assert not standing(date(2026, 2, 2)).extended
    asked = {"a": request("a", "2026-03-02", extension_reason="many images")}
    assert standings(asked, CONFIG, RegistryFacts(), date(2026, 2, 2))[0].extended


def test_a_pause_moves_the_last_day_by_its_length():
    during, after = standing(date(2026, 2, 12), paused=[PAUSE]), standing(date(2026, 2, 20), paused=[PAUSE])
    assert (during.paused, during.paused_days, during.due) == (True, 2, date(2026, 3, 3))
    assert (after.paused, after.paused_days, after.due) == (False, 5, date(2026, 3, 6))
    assert standing(date(2026, 2, 9), paused=[PAUSE]).paused_days == 0
    assert standing(date(2026, 2, 10), paused=[PAUSE]).paused
    assert not standing(date(2026, 2, 15), paused=[PAUSE]).paused
    # while the clock stands still, no day is used up
    left = {standing(date(2026, 2, day), paused=[PAUSE]).days_left for day in range(10, 16)}
    assert left == {19}


def test_a_pause_without_an_end_goes_on():
    open_end = {"since": "2026-02-10", "reason": "identity asked for"}
    one = standing(date(2027, 2, 10), paused=[open_end])
    assert (one.paused, one.paused_days, one.overdue) == (True, 365, False)


@pytest.mark.parametrize(
    ("pauses", "told"),
    [
        ([{**PAUSE, "since": "2026-01-01"}], "pause 1 begins on 2026-01-01, before 2026-02-01"),
        ([{**PAUSE, "until": "2026-02-10"}], "until 2026-02-10 must be after since 2026-02-10"),
        ([{**PAUSE, "reason": ""}], "paused.0.reason"),
        ([PAUSE, {**PAUSE, "since": "2026-02-14"}], "pause 2 begins on 2026-02-14, before 2026-02-15"),
        ([{"since": "2026-02-10", "reason": "x"}, {**PAUSE, "since": "2026-02-12"}], "pause 1 has no end"),
    ],
)
def test_pauses_that_make_no_sense_are_one_line(pauses, told):
    with pytest.raises(UserError, match=told):
        request("a", "2026-03-01", paused=pauses)


def test_a_paused_request_is_read_as_it_was_written(tmp_path):
    for pauses in ([], [PAUSE, {"since": "2026-02-20", "reason": "again"}]):
        path = tmp_path / f"r{len(pauses)}.yaml"
        asked = request(path.stem, "2026-03-01", paused=pauses)
        write_request(asked, path)
        assert read_request(path) == asked
        assert ("paused" in path.read_text()) == bool(pauses)


# --- the pipeline's step ---


def test_the_step_tells_which_requests_are_overdue(tmp_path):
    for id_, due, more in (("a", "2026-02-20", {}), ("b", "2026-03-01", {}), ("c", "2026-02-27", {"paused": [PAUSE]})):
        write_request(request(id_, due, **more), tmp_path / f"{id_}.yaml")
    facts = deadlines(tmp_path, "a, b,c", date(2026, 2, 28))
    assert (facts["outcome"], facts["overdue"], facts["first_due"], facts["days_left"]) == (
        "overdue",
        "a",
        "2026-02-20",
        -8,
    )
    assert facts["message"] == "OVERDUE: a; the first was due on 2026-02-20, 8 days ago"
    assert deadlines(tmp_path, "b,c", date(2026, 2, 28))["outcome"] == "in time"
    assert deadlines(tmp_path, "a,b,c", date(2026, 3, 5))["overdue"] == "a, b, c"
    with pytest.raises(UserError, match="no request is named"):
        deadlines(tmp_path, " ", date(2026, 3, 5))

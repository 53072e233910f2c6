"""What the page says where ranks, several retrained models, or an earlier champion come into it."""

import re
from dataclasses import replace

import pytest

from i2i_unlearn.report.audit_plots import shift_plot
from i2i_unlearn.report.headline import tiles
from i2i_unlearn.report.page import render
from i2i_unlearn.report.rank_shift import control_sentences, finding, rank_table
from i2i_unlearn.report.scores import gap_table, score_table
from i2i_unlearn.report.tables import class_table, gap_growth_table, relative_table
from i2i_unlearn.report.terminal_summary import summary_lines
from i2i_unlearn.report.verdict import decision


@pytest.fixture(scope="module")
def later(made):
    """A second request, with three references."""
    return made.made_metrics(references=3, original=True)


def texts(drawing):
    return set(re.findall(r"<text[^>]*>([^<]+)</text>", drawing))


def test_a_check_that_is_not_applicable_is_counted_apart_and_says_what_it_lacks(made):
    view = decision(made.made_verdicts(), made.made_metrics()).deciding
    assert view.tally == "2 of 2 checks passed, 1 not applicable"
    assert view.lines[-1].why == "2 references are needed, there are 1 (reference.count)"
    page, name = render(made.made_facts()), view.lines[-1].name
    told = re.search(r'<p class="quiet left-out">(.*?)</p>', page).group(1)
    assert (
        told
        == f"<strong>Not applicable:</strong> {name}. Reason: 2 references are needed, there are 1 (reference.count)."
    )
    assert 'class="not-applicable"' not in page


def test_what_leaves_a_policy_undecided_stands_in_its_table(made):
    verdicts = made.made_verdicts("undecided")
    verdicts["verdicts"]["as_unseen"]["lines"][-1]["decides"] = True
    view = decision(verdicts, made.made_metrics()).deciding
    assert (view.told, view.left_out) == (view.lines, {})
    row = re.search(
        r'<tr class="not-applicable">.*?</tr>', render(made.made_facts(verdicts=verdicts)), re.DOTALL
    ).group()
    assert "badge na" in row
    assert "About the bound" not in row


def test_equal_reasons_for_bounds_are_told_once(made):
    verdicts = made.made_verdicts()
    first = verdicts["verdicts"]["as_unseen"]["lines"][0]
    verdicts["verdicts"]["as_unseen"]["lines"] = [first | {"name": name} for name in ("one", "two", "three")]
    told = [line.threshold_why for line in decision(verdicts, made.made_metrics()).deciding.lines]
    assert told == [first["threshold_why"], "As for one.", "As for one."]


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("at least -0.1 and at most 0.1", "−0.1 to 0.1"),
        ("at least 0 and at most 0, ranked as if never seen", "above 0, ranked as if never seen"),
        ("at most -1.2", "at most −1.2"),
    ],
)
def test_bounds_in_words(made, bound, words):
    verdicts = made.made_verdicts()
    verdicts["verdicts"]["as_unseen"]["lines"] = [made.line("a", "measure", "pass", (1, 0, 2), bound)]
    assert decision(verdicts, made.made_metrics()).deciding.lines[0].bound == words


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (
            "retain hole_psnr_db, unlearned minus teacher",
            "Closeness to the real image (dB) of images to keep: unlearned minus previous champion",
        ),
        (
            "retain minus retain_holdout hole_psnr_db, unlearned minus original",
            "Closeness to the real image (dB) of images to keep less the same of images never seen: unlearned minus "
            "original",
        ),
        (
            "worst class of retain hole_psnr_db, unlearned minus original",
            "Closeness to the real image (dB) of the worst class of images to keep: unlearned minus original",
        ),
        ("audit rank_shift error_shift, unlearned", "Change of rank among images never seen, by error: unlearned"),
    ],
)
def test_measures_in_words(made, later, measure, words):
    verdicts = made.made_verdicts()
    verdicts["verdicts"]["as_unseen"]["lines"] = [made.line("a", measure, "pass", (1, 0, 2), "at least 0")]
    assert decision(verdicts, later).deciding.lines[0].measure == words


def test_the_previous_champion_is_named_with_its_version_where_the_lineage_has_it(made, later):
    facts = made.made_facts(metrics=later)
    assert "Previous champion" in render(facts)
    assert "(version" not in render(facts)
    named = replace(facts, lineage={"teacher": "models:/digits-inpainter/3"})
    assert "Unlearned − previous champion (version 3)" in render(named)
    assert "revious champion" not in render(made.made_facts())  # the teacher is the original


def test_the_tiles_are_against_the_original(made, later):
    """Of the made scores 8.23 - 9.93 = -1.70 dB: 10 ** 0.17 = 1.48 times the error; the champion gives 1.41."""
    assert tiles(later)[0].value == "1.48×"
    assert "original model, before any request" in tiles(later)[0].meaning
    assert tiles(made.made_metrics())[0].value == "1.41×"


def test_scores_are_compared_with_the_original_and_the_previous_champion(later):
    assert list(score_table(later).columns) == [
        *("Previous champion", "Unlearned", "Original", "Retrained", "Retrained (2)", "Retrained (3)"),
        *("Unlearned − original", "Unlearned − previous champion"),
    ]
    forget = gap_table(later).groups[0].rows[0]
    assert forget.cells[1].value == "−1.76"  # 8.17 - 9.93


def test_the_table_of_ranks_by_hand(made):
    metrics = made.made_metrics()
    table = rank_table(metrics)
    assert list(table.columns[2:4]) == ["Unlearned, rank", "Unlearned, shift"]
    assert [title for title, _ in table.rows] == ["Error", "Contrast", "Roughness", "Edge", "Error, kept images"]
    _, cells = table.rows[0]
    assert [(cell.value, cell.interval) for cell in cells[:4]] == [
        ("0.317", "0.252 to 0.382"),
        ("0.000", "0.000 to 0.000"),
        ("0.503", "0.438 to 0.568"),
        ("+0.186", "+0.136 to +0.236"),
    ]
    assert finding(metrics["audits"]["rank_shift"]) == (
        "On average, 50 of 100 never-seen images are completed better than an image that was to be forgotten, where 50 "
        "is as if never seen; by the original model it was 32."
    )
    halves, flat = control_sentences(metrics)
    assert "must not be found" in halves
    assert "error −0.002 (−0.022 to +0.018)" in halves
    assert "must be found" in flat
    assert "contrast −0.520 (−0.580 to −0.460)" in flat


def test_ranks_that_were_not_taken_have_no_table(made):
    metrics = {**made.made_metrics(), "audits": {}}
    assert (rank_table(metrics), shift_plot(metrics), control_sentences(metrics)) == (None, None, [])


def test_shifts_are_drawn_for_every_model_but_the_original(made, later):
    assert {"Unlearned", "Retrained", "Error", "Edge"} <= texts(shift_plot(made.made_metrics()))
    assert "Original" not in texts(shift_plot(made.made_metrics()))
    assert {"Previous champion", "Retrained (3)"} <= texts(shift_plot(later))


def test_distances_to_references_stand_next_to_those_among_them(made, later):
    title, cells = relative_table(later).rows[0]
    assert title == "Forget: Hole PSNR (dB)"
    assert [(cell.value, cell.interval) for cell in cells] == [
        *(("0.06, 0.02, 0.11", ""), ("0.08, 0.05, 0.13", ""), ("−0.02", "−0.06 to +0.02")),
    ]
    assert relative_table(made.made_metrics()) is None  # one reference tells nothing of references


def test_growth_of_the_gap_and_the_worst_classes_are_against_the_original(later):
    assert ("Unlearned − original", "+0.15") in [(title, row[0].value) for title, row in gap_growth_table(later).rows]
    table = class_table(later)
    assert list(table.columns) == ["Unlearned − original"]
    assert (table.rows[0][0], table.rows[0][1][0].value) == ("Retain: class 0", "−0.31")


def test_the_last_lines_of_a_run_keep_to_three_models(made, later):
    lines = list(summary_lines(later, made.made_verdicts()))
    assert max(map(len, lines)) < 80
    assert any("9.93 (9.76 … 10.10)" in line for line in lines)  # the original, not the previous champion

import pytest

from i2i_unlearn.report import decision_markdown
from i2i_unlearn.report.page import render
from i2i_unlearn.report.scores import comparison_sentences
from i2i_unlearn.report.terminal_summary import summary_lines
from i2i_unlearn.report.verdict import verdict_sentence


def test_markdown_begins_with_the_decision_and_has_every_line(made):
    text = decision_markdown(made.made_metrics(), made.made_verdicts())
    assert text.startswith("## ✓ Passed: The model cannot be told from one that never saw the forget images.")
    assert "| −0.23 | −0.32 to −0.14 | at least −0.5 | Passed |" in text
    assert "Policy `forgotten`: failed, 0 of 2 checks passed. It asks that the forget images are completed" in text
    assert made.made_verdicts()["sentence"] in text


def test_of_many_faults_the_first_and_a_count_are_named(made):
    verdicts = made.made_verdicts("fail")
    lines = verdicts["verdicts"]["as_unseen"]["lines"]
    verdicts["verdicts"]["as_unseen"]["lines"] = [
        lines[0] | {"otherwise": fault} for fault in ("a", "b", "b", "c", "d")
    ]
    assert verdict_sentence(verdicts) == "Do not promote: a (and 3 more)."


def test_markdown_lets_no_text_out_of_its_cell(made):
    verdicts = made.made_verdicts()
    verdicts["verdicts"]["as_unseen"]["lines"][0]["why"] = "a | b\n<script> [x](http://y)"
    line = next(row for row in decision_markdown(made.made_metrics(), verdicts).splitlines() if "no memory left" in row)
    assert "a \\| b \\<script\\> \\[x\\](http://y) |" in line


def sentences(made, **forget):
    """The comparison with some paired differences on the forget set replaced: metric -> (low, high)."""
    metrics = made.made_metrics()
    for pair in ("unlearned-reference", "unlearned-teacher"):
        for metric, (low, high) in forget.items():
            if metric in metrics["differences"][pair]["forget"]:
                metrics["differences"][pair]["forget"][metric].update(low=low, high=high)
    return comparison_sentences(metrics)


@pytest.mark.parametrize(
    ("place", "metric", "above", "below", "across"),
    [
        (0, "hole_psnr_db", "still completes forget images better", "completes forget images worse", "no difference"),
        (1, "reference_psnr_db", "moved the outputs towards", "moved the outputs away", "neither visibly"),
        (2, "output_spread", "differ more", "more alike", "vary as much"),
    ],
)
def test_every_comparison_is_read_by_its_interval(made, place, metric, above, below, across):
    for ends, words in (((0.1, 0.3), above), ((-0.3, -0.1), below), ((-0.1, 0.1), across)):
        assert words in sentences(made, **{metric: ends})[place]


def test_without_paired_differences_scores_are_compared_by_their_intervals(made):
    metrics = made.made_metrics()
    metrics["differences"] = {}
    found = comparison_sentences(metrics)
    assert len(found) == 2  # the gap needs its own interval; distance and spread are far enough apart
    assert "moved the outputs away" in found[0]
    assert "more alike" in found[1]


def test_without_a_reference_nothing_is_compared(made):
    assert comparison_sentences(made.made_metrics(references=0)) == []


def test_a_pass_by_rehearsal_is_told_wherever_the_decision_is(made):
    metrics, verdicts = made.made_metrics(), made.made_verdicts()
    verdicts["verdicts"]["as_unseen"]["lines"][0] |= {"by_rehearsal": True, "why": "by rehearsal with 39 stand-ins"}
    assert "By rehearsal, on stand-ins for too few images: no memory left." in verdict_sentence(verdicts)
    page = render(made.made_facts(verdicts=verdicts))
    assert "Passed</span> by rehearsal" in page
    assert "by rehearsal with 39 stand-ins" in page
    assert "(1 by rehearsal)" in page
    assert "Passed by rehearsal" in decision_markdown(metrics, verdicts)
    assert "2 of 2 lines, 1 by rehearsal" in " ".join(summary_lines(metrics, verdicts))

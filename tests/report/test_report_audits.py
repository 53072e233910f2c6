"""What the page says of the audits, of near-copies, and of what was asked and done."""

import dataclasses
import re

import pytest

from i2i_unlearn.report.asked import asked_sentences, done_sentences, near_duplicate_sentences
from i2i_unlearn.report.audit_plots import relearning_plot, roc_plot, time_loss_plot
from i2i_unlearn.report.audits import audit_lines, audit_views
from i2i_unlearn.report.claims import not_claimed
from i2i_unlearn.report.page import render
from i2i_unlearn.report.verdict import decision_markdown


@pytest.fixture(scope="module")
def views(made):
    return {view.name: view for view in audit_views(made.made_metrics())}


@pytest.fixture(scope="module")
def page(made):
    return render(made.made_facts())


def texts(drawing):
    return set(re.findall(r"<text[^>]*>([^<]+)</text>", drawing.replace("&#x27;", "'")))


def section(page, audit):
    """Markup of one audit, from its heading to the next."""
    return re.search(rf"<h4>{audit} .*?(?=<h4>|</details>)", page, re.DOTALL).group()


def test_a_measured_audit_says_how_far_the_unlearned_model_is_from_the_retrained_one(views):
    # 0.412 - 0.507, half an interval 0.09: zero is outside
    assert views["membership"].finding == (
        "The attack tells the unlearned model from the retrained one: they differ by −0.095 (−0.185 to −0.005)."
    )
    assert views["relearning"].finding == (
        "The attack does not tell the unlearned model from the retrained one: they differ by +0.06 (−0.04 to +0.16)."
    )


def test_without_a_reference_the_innocent_value_is_the_measure(made):
    views = {view.name: view for view in audit_views(made.made_metrics(references=0))}
    assert views["membership"].finding == (
        "The attack finds a trace in the unlearned model: 0.412 (0.348 to 0.476), where 0.5 is innocent."
    )
    assert views["relearning"].finding == "Nothing was found out, so nothing is claimed."


def test_what_is_blind_or_not_applicable_never_looks_like_a_pass(page):
    for title, status in (("Linear probe", "blind"), ("Recovery by another decoder", "n/a")):
        shown = section(page, title)
        assert f'class="badge {status.replace("/", "")}"' in shown
        assert not re.search(r"badge (pass|measured)|✓|●|finds no trace|does not tell", shown)


def test_every_status_comes_with_its_reason_and_meaning(page):
    assert "The original model&#39;s AUC by loss is 0.684" in section(page, "Membership inference")
    assert "which includes 0.5" in section(page, "Linear probe")
    assert "50 images of retain_holdout are needed, there are 12." in section(page, "Recovery by another decoder")
    assert "that it finds nothing in the unlearned model means nothing" in page


def test_every_model_comes_with_its_interval_and_the_deciding_measure_comes_first(views):
    membership = views["membership"]
    assert list(membership.columns) == [
        *("Original", "Unlearned", "Retrained"),
        *("Unlearned − original", "Unlearned − retrained", "Retrained − original"),
    ]
    assert [(row.title, row.decides) for row in membership.rows] == [("AUC by loss", True), ("AUC by likeness", False)]
    assert [(cell.value, cell.interval) for cell in membership.rows[0].cells[:3]] == [
        ("0.684", "0.620 to 0.748"),
        ("0.412", "0.348 to 0.476"),
        ("0.507", "0.443 to 0.571"),
    ]
    assert membership.rows[1].cells[3].value == "–"  # no difference was measured


def test_the_roc_has_every_model_and_every_attack(made):
    drawing = roc_plot(made.made_metrics())
    assert {"Original", "Unlearned", "Retrained", "a guess", "By the model's own loss"} <= texts(drawing)
    assert re.findall(r"#[0-9a-f]{6}", drawing) == []


def test_relearning_shows_the_level_to_come_back_to(made):
    assert {"Original", "Unlearned", "Retrained", "original before"} <= texts(relearning_plot(made.made_metrics()))


def test_a_diffusion_model_shows_its_loss_over_the_schedule_on_every_set(made):
    curve = {"share": [0.05, 0.5, 0.95], "loss": [0.9, 0.4, 0.1]}
    losses = {model: {"forget": curve, "retain": curve} for model in made.MODELS}
    metrics = {**made.made_metrics(), "time_losses": losses}
    assert {"Original", "Unlearned", "Retrained", "Forget", "Retain"} <= texts(time_loss_plot(metrics))
    assert time_loss_plot(made.made_metrics()) is None  # no diffusion model: nothing was measured
    assert "Loss over the diffusion schedule" in render(made.made_facts(metrics=metrics))


def test_without_audits_there_is_no_plot_and_the_page_says_so(made):
    metrics = {**made.made_metrics(), "audits": {}}
    assert (roc_plot(metrics), relearning_plot(metrics)) == (None, None)
    assert "No audit was made" in render(made.made_facts(metrics=metrics))
    assert "no attack on it told anything" in not_claimed(metrics)[0]


def test_an_audit_of_the_users_own_is_shown_under_its_name(made):
    audit = {**made.made_audits()["membership"], "measure": "own_score", "curves": {}}
    audit["models"] = {name: {"own_score": made.score(0.1, 0.2)} for name in made.MODELS}
    audit["differences"] = {}
    (view,) = audit_views({"audits": {"my_attack": audit}})
    assert (view.title, view.rows[0].title) == ("My attack", "own score")
    assert view.finding.startswith("The attack finds a trace in the unlearned model: 0.100")


def test_what_is_not_claimed_names_the_attacks_that_say_nothing(made):
    assert not_claimed(made.made_metrics())[0] == (
        "That every trace of the forget images has left the weights. Attacks that tell something were rank shift, "
        "membership inference and relearning; a stronger attack may find more. Nothing follows from linear probe "
        "(blind) and recovery by another decoder (n/a)."
    )


def test_the_short_decision_lists_every_audit_with_its_status(made):
    lines = audit_lines(made.made_metrics())
    assert [status for _, status, _ in lines] == [
        *("● Measured", "● Measured", "⊘ Blind: says nothing", "● Measured", "– Not applicable"),
    ]
    text = decision_markdown(made.made_metrics(), made.made_verdicts())
    assert "| Linear probe | ⊘ Blind: says nothing | Says nothing about the unlearned model" in text


def test_the_request_comes_with_its_deadline_and_the_method_with_its_steps(made):
    facts = made.made_facts()
    assert asked_sentences(facts) == [
        "Request digit-3: the model must no longer reproduce 400 of its training images, and complete all others as "
        "before; 3600 of these are the retain set.",
        "It is due by 2024-06-02.",
    ]
    assert done_sentences(facts)[0] == "The original model was changed by the method encoder_l2 (alpha 2, 150 steps)."


def test_reasons_have_the_pages_minus_signs(views):
    assert "differ by −1.2 (95 % interval −1.3 to −1.1) in Below the original" in views["relearning"].why


def test_near_copies_come_with_what_was_done(made):
    found = {
        **made.made_facts().near_duplicates,
        "near_duplicates_words": "anna:include,ben:keep",
        "near_duplicates_of_erased": 1,
    }
    assert near_duplicate_sentences(found) == [
        "5 near-copies of forget images were found (confirmed by pixels and EfficientNet-Lite0): 2 forgotten like the "
        "rest and 3 kept among the images that stay.",
        "The requests asked for: include (request anna) and keep (request ben).",
        "One more is a near-copy of images erased earlier, treated as that request says.",
    ]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, []),  # a split of an earlier version does not tell
        (
            {"num_near_duplicates": 0, "near_duplicates_confirmed_by": "pixels"},
            ["Near-copies of the forget images were searched; none were found."],
        ),
        (
            {"num_near_duplicates": 0, "near_duplicates_confirmed_by": "not searched"},
            ["Near-copies were searched only among files of equal bytes; none were found."],
        ),
        ({"num_near_duplicates": 1}, ["One near-copy of forget images was found."]),
    ],
)
def test_near_copies_that_are_none_or_unknown(found, told):
    assert near_duplicate_sentences(found) == told


def test_a_quarantine_is_not_claimed_to_last(made):
    told = "That the change is permanent: it is a quarantine by low-rank adapters"
    facts = dataclasses.replace(made.made_facts(), method={"objective": "encoder_l2", "scope": "lora", "alpha": 0.25})
    assert told in render(facts)
    assert told not in render(made.made_facts())

"""The page as a reader's program sees it: parsed by the standard library, nothing but its bytes."""

import base64
import dataclasses
import functools
import hashlib
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from i2i_unlearn.evaluation import gate
from i2i_unlearn.evaluation.findings import FORGET_SETS
from i2i_unlearn.evaluation.shown import EmbeddingMap
from i2i_unlearn.report import write_report
from i2i_unlearn.report.facts import RequestFacts
from i2i_unlearn.report.headline import tiles
from i2i_unlearn.report.next_steps import ANSWERS
from i2i_unlearn.report.page import registered
from i2i_unlearn.report.pictures import encode_png
from i2i_unlearn.report.words import number, plain_number

HEADINGS = {"h1", "h2", "h3"}
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Page(HTMLParser):
    """Visible text in order, headings, attributes, and whether the tags nest."""

    def __init__(self, text):
        super().__init__()
        self.text, self.headings, self.attributes, self.images = [], [], [], []
        self.open, self.faults = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag in HEADINGS:
            self.headings.append((tag, ""))
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"td", "th", "dt", "dd", "p", "li", "caption", "option", *HEADINGS}:
            self.text.append(" ")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.faults.append(tag)

    def handle_data(self, data):
        if {"style", "script", "title"} & set(self.open):
            return
        self.text.append(data)
        if HEADINGS & set(self.open):
            tag, text = self.headings[-1]
            self.headings[-1] = (tag, text + data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def written(facts, folder):
    write_report(facts, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def render(tmp_path):
    return functools.partial(written, folder=tmp_path)


@pytest.fixture(scope="module")
def demo(made, tmp_path_factory):
    """The demo's page, written once for the tests that only read it."""
    return written(made.made_facts(), tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def page(demo):
    return Page(demo)


def numbers_of(metrics):
    """Every score, difference and end of an interval, written as the page should write it."""
    digits = {"hole_psnr_db": 2, "own_loss": 4, "reference_psnr_db": 2, "output_spread": 3}
    digits["feature_cosine_efficientnet_lite0"] = 3
    for table, signed in (("scores", False), ("differences", True)):
        for sets in metrics[table].values():
            for scores in sets.values():
                for metric, score in scores.items():
                    for key in ("value", "low", "high"):
                        yield number(score[key], digits.get(metric, 1), signed=signed)


@pytest.mark.parametrize(
    ("outcome", "badge", "sentence"),
    [
        ("pass", "✓ Passed", "The model cannot be told from one that never saw the forget images."),
        ("fail", "✗ Failed", "Do not promote: the model does not do what no memory left asks."),
        ("undecided", "? Undecided", "Undecided: not enough evidence about no memory left."),
    ],
)
def test_the_verdict_is_the_first_thing_said_and_needs_no_word_of_the_method(made, render, outcome, badge, sentence):
    page = Page(render(made.made_facts(verdicts=made.made_verdicts(outcome))))
    assert page.words.startswith(f"{badge} Unlearning report {sentence}")
    assert page.headings[0] == ("h1", sentence)
    first = page.words[: page.words.index("The checks behind the decision")].lower()
    assert [word for word in ("psnr", "teacher", "retain", "encoder_l2", "auc", "objective") if word in first] == []
    assert ANSWERS[outcome].lower() in first


@pytest.mark.parametrize(
    ("outcome", "command"),
    [("pass", "i2i-unlearn register"), ("fail", "dvc repro"), ("undecided", "--accept-undecided REASON --by NAME")],
)
def test_every_reader_is_told_what_to_do_now(made, render, outcome, command):
    page = Page(render(made.made_facts(verdicts=made.made_verdicts(outcome))))
    first = page.words[page.words.index("What to do now") : page.words.index("The checks behind the decision")]
    assert first.count("If you ") == 3
    assert command in first
    assert "the last day is 2024-06-02" in first


def test_day_and_model_are_named_and_what_is_not_known_is_said(made, render):
    page = render(made.made_facts(day="2024-05-20", model_name="painter"))
    words = Page(page).words
    assert "Model painter, not registered yet Written 2024-05-20, not signed" in words
    kept = Page(registered(page, "version 2, registered by <R. Smith>"))
    assert "Model painter, version 2, registered by <R. Smith> Written 2024-05-20" in kept.words
    assert kept.words.replace("version 2, registered by <R. Smith>", "not registered yet") == words
    assert "Model not registered yet Written on an unknown day" in Page(render(made.made_facts())).words


def test_the_legend_of_pictures_names_the_columns_that_are_there(made, render, page):
    assert "Retrained completed by a model retrained" in page.words
    assert "Retrained (2) completed" not in page.words
    alone = [made.made_grid("retain", "random", reference=False)]
    assert "Retrained completed" not in Page(render(made.made_facts(pictures=alone))).words


def test_sections_come_in_the_order_in_which_a_reader_asks(page):
    assert [text for tag, text in page.headings if tag == "h2"] == [
        "What the model paints, before and after",
        "Error in the filled-in part, compared with before",
        "What to do now",
        "The checks behind the decision",
        "More",
        "Two pictures over each other",
    ]
    folded = ["Other policies", "Audits", "All scores", "All pictures", "Training", "Request", "What this report does"]
    found = iter(text for tag, text in page.headings if tag == "h3")
    assert all(any(text.startswith(wanted) for text in found) for wanted in folded)


def test_the_four_numbers_by_hand(made):
    """The made change on forget images is 8.23 - 9.71 = -1.48 dB: 10 ** 0.148 = 1.41 times the error."""
    forget, keep, unseen, sure = tiles(made.made_metrics())
    assert (forget.title, forget.value) == ("Images to forget", "1.41×")
    low, high = map(float, re.findall(r"([\d.]+)×", forget.interval))
    assert low < 1.41 < high
    assert forget.meaning.endswith("a model trained without them: 1.43×")  # 9.71 - 8.17 = 1.54 dB
    assert (keep.value, unseen.value) == ("1.05×", "1.02×")
    assert (sure.value, "400, 1,000 and 900 images" in sure.meaning) == ("95 %", True)
    nothing = tiles({**made.made_metrics(), "differences": {}})
    assert [tile.value for tile in nothing[:3]] == ["–"] * 3


def test_tags_nest_and_ids_are_unique(page):
    assert page.faults == []
    assert page.open == []
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_every_gate_line_shows_value_interval_bound_outcome_and_reason(made, page):
    for verdict in made.made_verdicts()["verdicts"].values():
        for line in verdict["lines"]:
            applied = line["outcome"] != "n/a"
            assert (line["name"].capitalize() if applied else line["name"]) in page.words
            assert not applied or plain_number(line["value"]) in page.words
            assert not applied or line["bound"].replace("-", "−") in page.words
            lacks = "2 references are needed, there are 1 (reference.count)"  # of what is not applicable
            assert (lacks if line["outcome"] == "n/a" else line["threshold_why"]) in page.words
    assert "−1.48 −1.57 to −1.39 at most −1.6" in page.words
    assert "Closeness to the real image (dB) of images to forget: unlearned minus original" in page.words
    assert made.made_verdicts()["sentence"] in page.words
    assert page.words.index("Policy as_unseen decides.") < page.words.index("Policy forgotten ✗ Failed")


def test_real_policies_and_the_real_gate_can_be_shown(made, render, request):
    metrics = made.made_metrics()
    contents = gate.read_policies(request.config.rootpath / "mlflow" / "policies")
    judged = {name: gate.judge(metrics, gate.parse_policy(name, content)) for name, content in contents.items()}
    others = [verdict for name, verdict in judged.items() if name != "as_unseen"]
    verdicts = {
        "deciding": "as_unseen",
        "verdicts": {name: verdict.as_dict() for name, verdict in judged.items()},
        "sentence": gate.explain_difference(judged["as_unseen"], others),
    }
    words = Page(render(made.made_facts(metrics=metrics, verdicts=verdicts))).words
    printed = words[: words.index("Open a section to read it")].lower()
    method = ("psnr", "teacher", "retain ", "encoder_l2", "auc", "digits", "objective")
    assert [word for word in method if word in printed] == []
    assert "2 references are needed, there are 1 (reference.count)" in words


def test_every_number_of_the_metrics_is_on_the_page(made, page):
    expected = set(numbers_of(made.made_metrics()))
    assert len(expected) > 100
    assert [text for text in expected if text not in page.words] == []


def test_ratios_set_sizes_cost_requests_and_lineage_are_on_the_page(made, page):
    for text in (
        "0.970 0.920 to 1.020",  # a ratio to the reference
        "all other training images: 1000 of 3600 images",
        "11.6 s",
        "1 min 33 s",
        "12.4%",
        "700 MiB",
        "digit-3, received 2024-05-02",
    ):
        assert text in page.words
    for label, value in made.made_facts().lineage.items():
        assert f"{label} {value}" in page.words


def test_the_paper_objective_leading_elsewhere_is_said_with_numbers(page):
    # 11.61 against 14.53 dB and a spread of .107 against .408: away from the retrained model, and all alike
    assert "14.53 dB, the unlearned model's at 11.61 dB" in page.words
    assert "moved the outputs away from those of a retrained model" in page.words
    assert "more alike than those of a retrained model" in page.words


def test_without_a_reference_the_page_says_that_nothing_is_known_of_it(made, render):
    facts = made.made_facts(
        metrics=made.made_metrics(references=0), pictures=[made.made_grid("retain", "random", reference=False)]
    )
    words = Page(render(facts)).words
    assert "No model was retrained without the forget set" in words
    assert "no model was retrained." in words
    assert "Unlearned − retrained" not in words


def test_a_metric_without_value_is_shown_as_a_dash(made, render):
    metrics = made.made_metrics()
    metrics["scores"]["teacher"]["forget"]["hole_psnr_db"] = {"value": None, "low": None, "high": None, "num_images": 0}
    assert "Forget – 8.23 8.06 to 8.40" in Page(render(made.made_facts(metrics=metrics))).words


def test_too_few_steps_and_no_map_are_said_in_words(made, render):
    words = Page(render(made.made_facts(steps=[], embeddings=None))).words
    assert "There are too few steps for a curve." in words
    assert "There are too few images for a map." in words


def test_the_page_asks_nothing_of_any_network(demo, page):
    for tag, name, value in page.attributes:
        if name in {"src", "href", "xlink:href", "action", "srcset", "data", "poster"}:
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value[:80])
    style = "".join(re.findall(r"<style>(.*?)</style>", demo, re.DOTALL))
    assert "@import" not in demo
    assert "url(" not in style
    assert not re.findall(r"url\(\s*['\"]?(?!#)", demo)
    assert {tag for tag, *_ in page.attributes} & {"link", "iframe", "object", "embed", "base"} == set()


def test_the_security_policy_names_the_only_script_that_may_run(demo):
    script = re.search(r"<script>(.*?)</script>", demo, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', demo).group(1).replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert demo.count("<script") == 1


def test_every_picture_has_words_that_say_what_it_shows(page):
    pictures = [image for image in page.images if "src" in image]
    assert len(pictures) == 4 * 2 * 3 * 5
    assert all(image["alt"] for image in pictures)
    assert "Forget, random image 1 of 3: completed by the unlearned model, 8.10 dB in the hole" in {
        image["alt"] for image in pictures
    }


def test_withheld_forget_images_are_not_in_the_bytes(made, render):
    facts = made.made_facts(show_forget_images=False)  # a caller that put them in all the same
    text = render(facts)
    checked = 0
    for grid in facts.pictures:
        for image in itertools.chain.from_iterable(grid.rows.values()):
            encoded = base64.b64encode(encode_png(image)).decode()
            assert (encoded in text) == (grid.set_name not in FORGET_SETS)
            checked += 1
    assert checked == 120
    words = Page(text).words
    assert "Forget images are withheld." in words
    assert "Chosen: random of forget" not in words


def test_shown_forget_images_are_in_the_bytes_and_nothing_is_said_to_be_withheld(made, demo):
    image = made.made_grid("forget", "random").rows["unlearned"][0]
    assert base64.b64encode(encode_png(image)).decode() in demo
    assert "withheld.</strong>" not in demo


def test_hostile_text_stays_text(made, render):
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(2)>$\\frac{1}{2}$]]>{{ 7*7 }}'
    verdicts = made.made_verdicts("fail")
    verdicts["verdicts"]["as_unseen"]["lines"][0].update(name=hostile, why=hostile, otherwise=hostile, measure=hostile)
    verdicts["sentence"] = hostile
    metrics = {**made.made_metrics(), "operator": hostile, "extractor": hostile}
    for scores in metrics["scores"]["teacher"].values():
        scores[hostile] = scores["own_loss"]
    facts = made.made_facts(
        metrics=metrics,
        verdicts=verdicts,
        pictures=[dataclasses.replace(made.made_grid("retain", "random"), caption=hostile)],
        steps=[{"step": 1, hostile: 2.0}, {"step": 2, hostile: 1.0}],
        lineage={hostile: hostile},
        requests=[RequestFacts(id=hostile, received=hostile, due=hostile)],
        embeddings=dataclasses.replace(made.made_embeddings(), caption=hostile),
    )
    text = render(facts)
    page = Page(text)
    assert text.count("<script") == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert all(image.get("src", "data:").startswith("data:") for image in page.images)
    assert page.faults == []
    assert hostile in page.words


def test_large_pictures_are_shrunk_until_the_page_is_below_five_megabytes(made, render):
    every = itertools.product(made.SETS, ("random", "worst"))
    grids = [made.made_grid(*one, num=8, side=224, channels=3) for one in every]
    text = render(made.made_facts(pictures=grids))  # noise: the worst that PNG can meet
    assert len(text.encode()) < 5_000_000
    assert re.search(r"To keep this page small, pictures are shrunk from 224 to \d+ pixels", Page(text).words)


def test_drawings_follow_the_colours_of_the_page(demo):
    drawings = re.findall(r"<svg.*?</svg>", demo, re.DOTALL)
    assert len(drawings) == 6
    for drawing in drawings:
        assert 'role="img"' in drawing
        assert "var(--ink)" in drawing
        assert re.findall(r"#[0-9a-f]{6}", drawing) == []


def test_equal_facts_give_equal_bytes_and_leave_the_settings_of_matplotlib(made, render, demo):
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert render(made.made_facts()) == demo
    assert dict(matplotlib.rcParams) == before


def test_a_failure_leaves_the_earlier_page(made, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("earlier")
    broken = made.made_facts(metrics={})
    with pytest.raises(KeyError):
        write_report(broken, out)
    assert out.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_one_point_alone_can_be_mapped(made, render):
    lonely = EmbeddingMap(caption="one", points_N2=np.zeros((1, 2), np.float32), models=["teacher"], sets=["forget"])
    assert "<svg" in render(made.made_facts(embeddings=lonely))

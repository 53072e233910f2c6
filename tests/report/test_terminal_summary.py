from i2i_unlearn.report import summary_lines


def lines(made, *, outcome="pass", **models):
    return list(summary_lines(made.made_metrics(**models), made.made_verdicts(outcome)))


def test_three_sets_of_three_models_and_one_verdict(made):
    shown = lines(made)
    head = next(line for line in shown if "original" in line)
    assert head.split() == ["images", "original", "unlearned", "retrained"]
    rows = {line[:10].strip(): line for line in shown if " … " in line}
    assert list(rows) == ["to forget", "to keep", "never seen"]
    assert "9.71 (9.54 … 9.88)" in rows["to forget"]
    assert "8.23 (8.06 … 8.40)" in rows["to forget"]
    assert "9.74 (9.57 … 9.91)" in rows["never seen"]
    assert "PASSED as_unseen (2 of 2 lines)." in shown


def test_another_policy_says_what_it_asks_and_which_preset_trains_for_it(made):
    text = " ".join(" ".join(lines(made)).split())
    assert "Other policies: forgotten failed. forgotten asks that the forget images are completed clearly worse" in text
    assert text.count("; preset paper trains for that.") == 1


def test_a_failed_verdict_names_the_lines(made):
    assert "FAILED as_unseen (1 of 2 lines). Not passed: no memory left." in lines(made, outcome="fail")


def test_without_a_retrained_model_there_are_two_columns(made):
    assert not any("retrained" in line for line in lines(made, references=0))


def test_lines_fit_eighty_columns(made):
    assert max(map(len, lines(made))) < 80

"""Every way in which Kubeflow Pipelines may not answer gives one line, exit code 1, and no token."""

import ssl
import time

import pytest
import trustme

from tests.pipeline.cluster.http_stub import Reply
from tests.pipeline.cluster.kfp_stub import TOKEN, KubeflowStub, one_line

LOGIN = b"<!doctype html><html><body>runs run_id experiment_id pipelines: log in</body></html>"
COMMANDS = ["submit", "list", "watch some-id", "cancel some-id", "upload", "schedule"]


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401, {"code": 16, "message": f"no such user: Bearer {TOKEN}"}), ["401", "--token-file"]),
        (Reply(403, b"RBAC: access denied", "text/plain"), ["403", "RBAC: access denied", "ask for the right"]),
        (Reply(404, b"<html>nginx</html>", "text/html"), ["404", "check the id"]),
        (Reply(500, {"error": "database is gone", "code": 13}), ["500", "database is gone"]),
        (Reply(503, b"no healthy upstream", "text/plain"), ["503", "no healthy upstream", "try again"]),
        (Reply(502, b"\xff\xfe\x00garbage", "application/octet-stream"), ["502"]),
        (Reply(200, LOGIN, "text/html"), ["a page of HTML", "log-in page"]),
        (Reply(200, b"", "application/json"), ["nothing", "JSON was expected"]),
        (Reply(200, b'{"runs": [', "application/json"), ["JSON was expected"]),
        (Reply(200, [], "application/json"), ["JSON was expected"]),
        (Reply(302, b"", "text/html", Location="http://127.0.0.1:9/dex/login"), ["log-in page", "302"]),
    ],
    ids=["401", "403", "404", "500", "503", "502-binary", "login-page", "empty", "cut-json", "list", "redirect"],
)
def test_a_reply_that_is_no_answer_is_one_line(kubeflow, pipeline, token_file, command, reply, words):
    kubeflow.always = reply
    one_line(pipeline(*command.split(), "--token-file", token_file), *words)


def test_fields_of_another_kind_are_one_line(kubeflow, pipeline):
    kubeflow.always = Reply(200, {"runs": [{"run_id": "a", "created_at": "yesterday"}]})
    one_line(pipeline("list"), "cannot read its answer", "doctor")


def test_a_reply_without_an_id_is_one_line(kubeflow, pipeline):
    kubeflow.always = Reply(200, {})
    one_line(pipeline("submit"), "without the experiment's id")


@pytest.mark.parametrize("command", COMMANDS)
def test_silence_ends_with_the_time_limit(kubeflow, pipeline, command):
    kubeflow.always = "hang"
    begin = time.monotonic()
    one_line(pipeline(*command.split(), "--timeout", "0.3"), "no answer in 0.3 s")
    assert time.monotonic() - begin < 10


def test_an_unanswered_submission_is_sent_once_and_says_that_it_may_have_been_done(kubeflow, pipeline):
    pipeline("submit")  # makes the experiment
    kubeflow.requests.clear()
    kubeflow.faults = [Reply(200, {"experiments": [{"experiment_id": "e", "display_name": "i2i-unlearn"}]}), "hang"]
    one_line(pipeline("submit", "--timeout", "0.3"), "may have been done", "pipeline list")
    assert [path for method, path, *_ in kubeflow.requests if method == "POST"] == ["/apis/v2beta1/runs"]


def test_a_lost_answer_to_a_question_is_asked_for_again(kubeflow, pipeline):
    kubeflow.add_run("there")
    kubeflow.faults = ["cut"]
    code, out, _ = pipeline("list")
    assert code == 0
    assert "there" in out


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("http://me:word@127.0.0.1:1", ["connection refused", "--host"]),
        ("http://kubeflow.invalid", ["cannot be reached"]),
        *[(host, ["is not an address"]) for host in ("kubeflow", "ftp://me:word@x", "http://", "http:///x y")],
    ],
)
def test_an_address_where_nothing_answers_is_one_line_without_its_password(unlearn, host, words):
    err = one_line(unlearn("pipeline", "list", "--host", host, "--timeout", "3"), *words)
    assert "word" not in err


# --- who is asking ---


def test_the_token_comes_from_a_file_and_a_new_one_is_taken(unlearn, token_file):
    with KubeflowStub(token=TOKEN).served() as kubeflow:
        assert unlearn("pipeline", "list", "--host", kubeflow.url, "--token-file", token_file)[0] == 0
        one_line(unlearn("pipeline", "list", "--host", kubeflow.url), "401")
        run_id = kubeflow.add_run()
        kubeflow.looks(run_id, ("RUNNING", []), ("RUNNING", []), ("SUCCEEDED", []))

        def renew():  # as a kubelet does
            kubeflow.token = "the-next-token"
            token_file.write_text("the-next-token")

        kubeflow.before("get_run", renew)
        watch = ("pipeline", "watch", run_id, "--every", "0.1", "--host", kubeflow.url)
        assert unlearn(*watch, "--token-file", token_file)[0] == 0


@pytest.mark.parametrize(("name", "is_file"), [("KF_PIPELINES_TOKEN", False), ("KF_PIPELINES_SA_TOKEN_PATH", True)])
def test_the_token_comes_from_the_environment_or_is_the_pod_s_own(unlearn, monkeypatch, token_file, name, is_file):
    monkeypatch.setenv(name, str(token_file) if is_file else TOKEN)
    with KubeflowStub(token=TOKEN).served() as kubeflow:
        code, out, err = unlearn("pipeline", "list", "--host", kubeflow.url)
    assert code == 0
    assert TOKEN not in out + err


@pytest.mark.parametrize("content", [b"mellon\nand more", "schl\u00fcssel\u20ac".encode(), b"", b"\xff\xfe", b"a\x00b"])
def test_a_file_that_holds_no_token_is_told_without_its_content(kubeflow, pipeline, tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    err = one_line(pipeline("list", "--token-file", path), "token")
    assert "mellon" not in err
    assert "schl" not in err


def test_a_token_with_a_line_break_in_the_environment_is_not_repeated(kubeflow, pipeline, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_TOKEN", f"{TOKEN}\nand more")
    one_line(pipeline("list"), "KF_PIPELINES_TOKEN: holds more than one line")


def test_a_token_file_that_is_not_there(kubeflow, pipeline, tmp_path):
    one_line(pipeline("list", "--token-file", tmp_path / "none"), "No such file")


def test_the_token_does_not_follow_a_redirect(unlearn, token_file):
    with KubeflowStub().served() as elsewhere, KubeflowStub().served() as kubeflow:
        kubeflow.always = Reply(307, b"", Location=elsewhere.url + "/apis/v2beta1/runs")
        one_line(unlearn("pipeline", "list", "--host", kubeflow.url, "--token-file", token_file))
        assert elsewhere.requests == []


# --- a safe connection ---


def test_the_server_s_certificate_is_checked(unlearn, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with KubeflowStub().served(tls=context) as kubeflow:
        assert unlearn("pipeline", "list", "--host", kubeflow.url, "--ca-file", tmp_path / "ca.pem")[0] == 0
        one_line(unlearn("pipeline", "list", "--host", kubeflow.url), "certificate verify failed", "--ca-file")
        assert unlearn("pipeline", "list", "--host", kubeflow.url, "--no-verify-tls")[0] == 0
        plain = kubeflow.url.replace("https", "http")
        one_line(unlearn("pipeline", "list", "--host", plain), "Kubeflow Pipelines at http://127.0.0.1")


def test_plain_http_under_an_https_address(kubeflow, unlearn):
    one_line(unlearn("pipeline", "list", "--host", kubeflow.url.replace("http", "https")), "secure connection failed")


def test_a_ca_file_that_is_none(kubeflow, unlearn, tmp_path):
    one_line(unlearn("pipeline", "list", "--host", kubeflow.url, "--ca-file", tmp_path / "none"), "no such file")
    (tmp_path / "ca.pem").write_text("no certificate")
    url = kubeflow.url.replace("http", "https")
    one_line(unlearn("pipeline", "list", "--host", url, "--ca-file", tmp_path / "ca.pem"), "--ca-file")

import hashlib
import os
import subprocess
import sys

import pytest

from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file, atomic_folder, digest_file, digest_folder, read_json, write_json
from tests.support.says import says


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(folder, content="old"):
    folder.mkdir(parents=True)
    (folder / "file").write_text(content)
    return folder


def break_off(kind, out, error):
    """Begin to write `out`, then fail."""
    with kind(out) as aside:
        (aside / "file" if kind is atomic_folder else aside).write_text("half")
        raise error


# --- folders ---


def test_a_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "deep/out") as aside:
        (aside / "file").write_text("new")
        assert not (tmp_path / "deep/out").exists()
    assert (tmp_path / "deep/out/file").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]


def test_a_folder_replaces_the_earlier_one_as_a_whole(tmp_path):
    out = make(tmp_path / "out")
    (out / "more").mkdir()
    with atomic_folder(out) as aside:
        (aside / "other").write_text("new")
    assert names(out) == ["other"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [UserError("wrong"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_failure_leaves_the_earlier_folder_as_it_was(tmp_path, error):
    out = make(tmp_path / "out")
    with pytest.raises(type(error)):
        break_off(atomic_folder, out, error)
    assert (out / "file").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_others_may_read_a_folder(tmp_path):
    # A temporary folder is private; the next step of a pipeline may run as another user.
    with atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_what_a_killed_run_left_is_removed(tmp_path):
    out = make(tmp_path / "out")
    make(tmp_path / ".out.new.abc", "half")
    make(tmp_path / ".out.old.17", "older")
    make(tmp_path / ".outside.new.abc", "another's")
    with atomic_folder(out) as aside:
        (aside / "file").write_text("new")
    assert names(tmp_path) == [".outside.new.abc", "out"]


def test_an_output_that_a_killed_run_moved_aside_is_put_back(tmp_path):
    make(tmp_path / ".out.old.17")
    with pytest.raises(UserError):
        break_off(atomic_folder, tmp_path / "out", UserError("wrong"))
    assert (tmp_path / "out/file").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_name_with_brackets_is_no_pattern(tmp_path):
    make(tmp_path / ".out[1].new.abc")
    make(tmp_path / ".out1.new.abc")
    with atomic_folder(tmp_path / "out[1]"):
        pass
    assert names(tmp_path) == [".out1.new.abc", "out[1]"]


# --- files ---


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep/file"
    with atomic_file(path) as aside:
        aside.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(UserError):
        break_off(atomic_file, path, UserError("wrong"))
    assert path.read_text() == "one"
    assert names(path.parent) == ["file"]


def test_the_file_of_a_killed_run_goes_and_that_of_a_living_one_stays(tmp_path):
    path = tmp_path / "file"
    (tmp_path / ".file.new.killed").write_text("half")
    with atomic_file(path) as living:
        living.write_text("slow")
        with atomic_file(path) as aside:
            aside.write_text("quick")
        assert names(tmp_path) == [living.name, "file"]
    assert names(tmp_path) == ["file"]
    assert path.read_text() == "slow"


def test_a_full_disk_is_told_in_one_line_and_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    program = f"""
import resource
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_file, atomic_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for kind, name in ((atomic_file, "file"), (atomic_folder, "folder")):
    try:
        with kind("{tmp_path}/" + name) as aside:
            (aside if kind is atomic_file else aside / "x").write_bytes(bytes(2000))
    except UserError as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert first.startswith(f"{path}: the disk is full (")
    assert first.endswith("MiB free); free some space and run the same command again")
    assert second.startswith(f"{tmp_path}/folder: the disk is full (")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, which Linux has")
def test_no_space_left_is_told_in_one_line(tmp_path):
    def fill():
        with atomic_file(tmp_path / "file"), open("/dev/full", "w") as full:
            full.write("x")

    with pytest.raises(UserError, match="the disk is full"):
        fill()


def test_an_error_that_is_none_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError, match="somewhere"):
        break_off(atomic_file, tmp_path / "file", PermissionError(13, "Permission denied", "somewhere"))


# --- JSON ---


def test_json_read_is_json_written(tmp_path):
    content = {"b": [1, 2.5, "x", None, True], "a": {"é": 1e-300}}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content


def test_equal_content_gives_equal_bytes(tmp_path):
    write_json(tmp_path / "one.json", {"a": 1, "b": 2})
    write_json(tmp_path / "two.json", {"b": 2, "a": 1})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes() == (
        b'{\n  "a": 1,\n  "b": 2\n}\n'
    )  # fmt: skip


def test_what_is_no_json_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no such file"), (b"{", "not valid JSON"), (b"", "not valid JSON"), (b'"\xe9"', "not valid JSON")],
)
def test_json_that_cannot_be_read_names_the_file(tmp_path, content, told):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with says(UserError, str(tmp_path / "x.json"), told):
        read_json(tmp_path / "x.json")


# --- digests ---


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert digest_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_digest_of_a_folder_by_hand(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"1", b"2"))
    assert digest_folder(tmp_path) == hashlib.sha256(f"{one}  a\n{two}  sub/b\n".encode()).hexdigest()


def test_the_digest_of_a_folder_sees_contents_and_names_and_nothing_else(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    os.utime(two / "file", (1, 1))
    assert digest_folder(one) == digest_folder(two)
    (two / "file").write_text("new")
    assert digest_folder(one) != digest_folder(two)
    (two / "file").write_text("old")
    (two / "file").rename(two / "other")
    assert digest_folder(one) != digest_folder(two)


def test_the_digest_of_a_folder_follows_links_and_refuses_one_that_leads_nowhere(tmp_path):
    for name in ("first", "second", "plain/unet"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "weights").write_text("second" if name == "second" else "first")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "unet").symlink_to(tmp_path / "first")
    assert digest_folder(linked) == digest_folder(tmp_path / "plain")
    (linked / "unet").unlink()
    (linked / "unet").symlink_to(tmp_path / "second")
    assert digest_folder(linked) != digest_folder(tmp_path / "plain")
    (linked / "config.json").symlink_to(tmp_path / "gone")
    with says(UserError, "config.json", "gone", "fetch it again"):
        digest_folder(linked)


def test_what_a_living_process_writes_next_to_it_is_left_alone(tmp_path):
    with atomic_folder(tmp_path / "out") as first:
        (first / "file").write_text("first")
        with atomic_folder(tmp_path / "out") as second:
            (second / "file").write_text("second")
        assert (tmp_path / "out/file").read_text() == "second"
        (first / "more").write_text("first")
    assert (tmp_path / "out/file").read_text() == "first"
    assert names(tmp_path) == ["out"]

"""A short campaign of each kind; `make campaign` runs the whole."""

import math
import tempfile
from pathlib import Path

import pytest

from tests.campaign import bad_inputs, flipped_bytes, full_disk, kills, together
from tests.campaign.__main__ import KINDS, page
from tests.campaign.world import CHAIN, run_chain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


DISKS = ("data import", "promote") if full_disk.can_mount(Path(tempfile.mkdtemp())) else ()
"""Commands to run on full disks, where this process may mount one: not where it is not root."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return run_chain(tmp_path_factory.mktemp("campaign"))


def test_killed_at_a_random_moment_every_command_goes_on(chain):
    rows = kills.run_kills(chain, len(CHAIN), seed=1)
    assert [row for row in rows if row["faults"]] == []
    assert sum(row["killed"] for row in rows) >= len(CHAIN) // 2


def test_a_lost_file_is_noticed(chain):
    def lose(project):
        (project / "artifacts/splits/manifest.parquet").unlink()

    project = chain.put_back("pretrain")
    lose(project)
    ended = kills.run(project, "split", "--help")
    assert any("missing" in fault for fault in kills._faults(chain, project, "split", ended))


def test_inputs_with_one_fault_are_refused(chain):
    found = bad_inputs.run_bad_inputs(bad_inputs.world_of(chain), 280, start=3)
    assert [case for case in found if case.outcome != "refused"] == []
    assert {case.surface for case in found} == set(bad_inputs.SURFACES)


def test_the_command_line_refuses_them_in_one_line(chain):
    found = bad_inputs.run_by_command(chain, 6, start=3)
    assert len(found) == 6
    assert [case for case in found if case.outcome != "refused"] == []


def test_what_was_accepted_or_told_badly_is_seen():
    def fail(error):
        raise error

    def outcome(call, *words):
        return bad_inputs.judge("settings", bad_inputs.Case("made", call, words)).outcome

    assert outcome(lambda: None) == "accepted"
    assert outcome(lambda: math.sqrt(-1)) == "traceback"
    assert outcome(lambda: fail(bad_inputs.UserError("params.yaml: alpha is wrong")), "beta") == "unclear"
    assert outcome(lambda: fail(bad_inputs.UserError("params.yaml: alpha is wrong")), "alpha") == "refused"


def test_a_flipped_byte_is_found(chain, tmp_path):
    rows = flipped_bytes.run_flips(chain, 2 * len(flipped_bytes.PLACES), seed=2)
    rows += flipped_bytes.run_checkpoint_flips(tmp_path, 50, seed=2)
    assert [row for row in rows if not row["found"]] == []


def test_eight_at_once_lose_nothing(chain):
    assert together.run_together(chain) == []


if DISKS:

    @pytest.mark.parametrize("command", DISKS)
    def test_a_full_or_read_only_disk_is_told_in_one_line(chain, command):
        rows = [full_disk._one(chain, command, spare) for spare in (0, 4096, None)]
        assert [row for row in rows if row["faults"]] == []


def test_the_page_tells_what_was_run_and_what_was_wrong():
    one = {"done": 12, "wrong": [{"fault": "lost"}], "commit": "abc", "date": "2026-01-01", "seconds": 3}
    told = page({"kills": one})
    assert "| kills |" in told
    assert "| 12 | 1 | abc | 2026-01-01 | 3 |" in told
    assert "lost" in told
    assert told.count("not run") == len(KINDS) - 1

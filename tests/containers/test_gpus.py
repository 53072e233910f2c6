"""GPUs for the steps' containers, asked of a Docker that has none."""

import docker
import pytest
from kfp import compiler, dsl

from i2i_unlearn.pipeline.local.containers import gpu_options
from tests.containers.engine import PYTHON_BASE
from tests.containers.test_pipeline_in_containers import command, give

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]  # the first test makes the base image


@dsl.component(base_image=PYTHON_BASE, install_kfp_package=False)
def nothing():
    pass


@dsl.pipeline(name="on-gpus")
def on_gpus(accelerator_count: str = "0"):
    nothing()


def test_docker_receives_the_number_of_gpus_and_room_for_what_processes_share(base, client):
    container = client.containers.create(PYTHON_BASE, ["true"], network_mode="none", **gpu_options(2))
    try:
        host = container.attrs["HostConfig"]
        (request,) = host["DeviceRequests"]
        assert (request["Count"], request["Capabilities"]) == (2, [["gpu"]])
        assert host["ShmSize"] == 1 << 30
        with pytest.raises(docker.errors.APIError, match="could not select device driver"):
            container.start()
    finally:
        container.remove(force=True)


@pytest.mark.parametrize("count", ["1", "2"])
def test_where_docker_has_none_there_is_one_line_before_anything_is_started(base, address, client, tmp_path, count):
    give(tmp_path)
    compiler.Compiler().compile(on_gpus, str(tmp_path / "package.yaml"))
    words = ["--package", "package.yaml", "--param", f"accelerator_count={count}"]
    process = command(tmp_path, address, *words)
    printed, told = process.communicate()
    assert (process.returncode, printed, told.count("\n")) == (1, "", 1)
    assert told.startswith(f"i2i-unlearn: error: accelerator_count={count}: Docker gives no container ")
    assert "could not select device driver" in told
    assert "set accelerator_count=0" in told
    assert not (tmp_path / "runs").exists()
    assert client.containers.list(all=True) == []

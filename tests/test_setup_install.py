"""Set-up: what requirements/install.py chooses, and tells uv; then a whole installation of small packages."""

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "requirements/install.py"


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_are_read_as_pip_applies_them(install):
    listed = (
        ":env:.find-links='/env'\nglobal.find-links='/global'\nglobal.index-url='https://global'\n"
        "install.index-url='https://install'\ndownload.timeout='7'\n"
    )
    assert install.read_settings(listed) == {"find-links": "/env", "index-url": "https://install"}


def test_uv_is_told_what_pip_is_told(install, monkeypatch):
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "5")
    settings = {
        "find-links": "/wheels /more",
        "extra-index-url": "https://one\nhttps://two",
        "trusted-host": "one two",
        "cert": "/ca.pem",
        "timeout": "60",
        "no-cache-dir": "0",
        "progress-bar": "off",
    }
    told = install.uv_environment(settings)
    assert told.pop("UV_BUILD_CONSTRAINT") == str(install.PACKAGES)
    assert told == {
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": "https://one https://two",
        "UV_INSECURE_HOST": "one two",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_HTTP_TIMEOUT": "5",  # the user's own word for uv
        "UV_NO_CACHE": "false",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_a_setting_that_uv_does_not_know_leaves_the_work_to_pip(install, capsys):
    assert install.fetch_uv({"no-binary": "torch"}) is None
    assert "no-binary" in capsys.readouterr().err


def test_the_installed_build_stays_unless_it_is_asked_for_otherwise(install):
    assert install.wanted_build("auto", "2.13.0+cpu") == "cpu"
    assert install.wanted_build("auto", "2.13.0") == "cuda"
    assert install.wanted_build("cuda", "") == "cuda"
    with pytest.raises(SystemExit, match=r"TORCH=cuda: torch 2.13.0\+cpu is installed.*make clean setup TORCH=cuda"):
        install.wanted_build("cuda", "2.13.0+cpu")


def test_the_cpu_build_gives_way_to_the_other_unless_a_person_asked_for_it(install):
    def files(*question):
        return [Path(lock[0]).name for lock in install.torch_locks(*question)]

    assert files("cpu", "auto", False) == ["torch-cpu.lock", "torch.lock"]
    assert files("cpu", "cpu", True) == ["torch-cpu.lock", "torch-cpu.lock"]
    assert files("cuda", "auto", True) == ["torch.lock"]


# --- a whole installation ---


def wheel(folder, name, version):
    """A wheel without code; returns its line of a lock."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    info = f"{name}-{version}.dist-info"
    digests = {key: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for key, text in texts.items()}
    record = [
        f"{info}/{key},sha256={digest.rstrip(b'=').decode()},{len(texts[key])}" for key, digest in digests.items()
    ]
    with zipfile.ZipFile(path, "w") as file:
        for key, text in {**texts, "RECORD": "\n".join([*record, f"{info}/RECORD,,", ""])}.items():
            file.writestr(f"{info}/{key}", text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A package to install, an environment, a folder of wheels and the lock of these."""
    root = tmp_path_factory.mktemp("project")
    (root / "requirements").mkdir()
    (root / "wheels").mkdir()
    shutil.copy(SCRIPT, root / "requirements")
    locks = {
        "packages": wheel(root / "wheels", "small", "1.0"),
        "torch": wheel(root / "wheels", "torch", "2.0").replace("==", "==="),
        "torch-cpu": wheel(root / "wheels", "torch", "2.0+cpu"),
        "uv": (SCRIPT.parent / "uv.lock").read_text(),
    }
    for name, text in locks.items():
        (root / f"requirements/{name}.lock").write_text(text)
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "ours"\nversion = "1"\n'
    )
    subprocess.run([sys.executable, "-m", "venv", root / ".venv"], check=True)
    return root


BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/ours-1-py3-none-any.whl", "w") as file:
        file.writestr("ours-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: ours\\nVersion: 1\\n")
        file.writestr("ours-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr("ours-1.dist-info/RECORD", "")
    return "ours-1-py3-none-any.whl"
"""


def set_up(project, torch):
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels")}
    command = [project / ".venv/bin/python", "requirements/install.py", torch]
    return subprocess.run(command, cwd=project, env={**quiet, **settings}, capture_output=True, text=True)


def versions(project):
    ask = "import importlib.metadata as m; print(*(m.version(one) for one in ('small', 'torch', 'ours')))"
    return subprocess.check_output([project / ".venv/bin/python", "-c", ask], text=True).split()


def put_uv(project):
    """The tests' own uv: it is no file of a folder of wheels."""
    (target,) = project.glob(".venv/lib/python*/site-packages")
    uv = importlib.metadata.distribution("uv")
    for file in uv.files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (target / file).parent.mkdir(exist_ok=True)
            shutil.copy(uv.locate_file(file), target / file)
    shutil.copy(
        shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"), project / ".venv/bin/uv"
    )


@pytest.mark.slow
def test_pip_and_uv_install_the_same_and_refuse_the_same(project):
    done = set_up(project, "cpu")
    assert done.returncode == 0, done.stderr
    assert versions(project) == ["1.0", "2.0+cpu", "1"]
    assert "uv cannot be installed here" in done.stderr
    assert done.stdout.endswith("torch 2.0+cpu, the CPU build. To choose the other: make clean setup TORCH=cuda\n")

    pip = [project / ".venv/bin/python", "-m", "pip"]
    subprocess.run([*pip, "uninstall", "-q", "-y", "small", "torch", "ours"], check=True)
    put_uv(project)
    done = set_up(project, "cuda")
    assert done.returncode == 0, done.stderr
    assert versions(project) == ["1.0", "2.0", "1"]
    assert "pip" not in done.stderr
    assert done.stdout.endswith("torch 2.0, the CUDA build. To choose the other: make clean setup TORCH=cpu\n")

    subprocess.run([*pip, "uninstall", "-q", "-y", "small"], check=True)
    lock = project / "requirements/packages.lock"
    lock.write_text(f"small==1.0 --hash=sha256:{'0' * 64}\n")
    done = set_up(project, "auto")
    assert done.returncode == 1
    assert "Hash mismatch" in done.stderr  # uv
    assert "DO NOT MATCH THE HASHES" in done.stderr  # pip
    assert done.stderr.splitlines()[-1].startswith("The installation failed")

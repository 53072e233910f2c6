import subprocess
import sys


def run(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def test_torchvision_and_what_imports_it_work_after_the_repair():
    code = (
        "from i2i_unlearn.support.torchvision_compat import ensure_torchvision as e; e(); e()\n"
        "from torchvision.transforms import v2\n"
        "from torchmetrics.image.fid import FrechetInceptionDistance\n"
        "print(v2.__name__, FrechetInceptionDistance.__name__)"
    )
    assert run(code) == "torchvision.transforms.v2 FrechetInceptionDistance"


def test_other_failures_of_the_import_are_not_hidden():
    code = (
        "import sys, types\n"
        "class Broken:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torchvision': raise RuntimeError('something else')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from i2i_unlearn.support.torchvision_compat import ensure_torchvision\n"
        "try: ensure_torchvision()\n"
        "except RuntimeError as error: print(error)"
    )
    assert run(code) == "something else"

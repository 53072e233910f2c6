"""The pod that files are copied through: admitted where the steps are, on the same volume, and stopped by itself."""

import kubernetes_validate
import pytest
import yaml

from tests.k8s.conftest import K8S, OVERLAYS, pods_in, render
from tests.k8s.pod_security import faults
from tests.k8s.test_manifests import VERSION, names

POD = yaml.safe_load((K8S / "volume-shell.yaml").read_text())


def test_it_is_valid_and_meets_the_restricted_standard():
    kubernetes_validate.validate(POD, VERSION, strict=True)
    (pod,) = pods_in(POD)
    assert faults(pod) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_its_volume_is_in_every_overlay(overlay):
    (claimed,) = [volume for volume in POD["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert claimed["persistentVolumeClaim"]["claimName"] in names(
        render(K8S / "overlays" / overlay), "PersistentVolumeClaim"
    )


def test_it_ends_by_itself_and_may_ask_the_api_nothing():
    assert int(POD["spec"]["containers"][0]["command"][1]) <= 8 * 3600
    assert POD["spec"]["automountServiceAccountToken"] is False

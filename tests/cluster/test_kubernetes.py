"""The manifest for Kubernetes in studies/cluster: the schemas, and what its container does."""

import copy
import json
import re

import pytest
from cluster_study import CLUSTER, PASSWORD
from pod import Pod, policy, status_of

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs the schemas: pip install '.[test]'")
yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install '.[test]'")

FIRST_VERSION = (1, 29)
"""The first version of Kubernetes that the manifest names."""


def supported_versions():
    found = {tuple(map(int, name.split(".")[:2])) for name in kubernetes_validate.utils.all_versions()}
    return [f"{major}.{minor}" for major, minor in sorted(found) if (major, minor) >= FIRST_VERSION]


@pytest.fixture(scope="module")
def manifests():
    return {document["kind"]: document for document in yaml.safe_load_all((CLUSTER / "job.yaml").read_text())}


@pytest.fixture
def pod(manifests, cluster_study):
    """Return a function that makes a pod of the Job from its name, on the machine that has the study's folder."""
    entrypoint = json.loads(re.search("^ENTRYPOINT (.*)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)[1])

    def make(name, **secret):
        values = {"SFGSEARCH_STORAGE": cluster_study.url, "PGPASSWORD": PASSWORD, **secret}
        mounts = {"studies": cluster_study.path.parent}
        return Pod(manifests["Job"], entrypoint, name, {"sfgsearch": values}, mounts)

    return make


@pytest.mark.parametrize("version", supported_versions())
def test_the_schemas_accept_the_manifest(manifests, version):
    assert set(manifests) == {"PersistentVolumeClaim", "Job"}
    for manifest in manifests.values():
        assert kubernetes_validate.validate(manifest, version, strict=True) == version


@pytest.mark.parametrize(("key", "value"), [("backofLimitPerIndex", 5), ("completions", "four")])
def test_the_schemas_refuse_another(manifests, key, value):
    job = copy.deepcopy(manifests["Job"])
    job["spec"][key] = value
    with pytest.raises(kubernetes_validate.ValidationError, match=f"{key}|{value}"):
        kubernetes_validate.validate(job, supported_versions()[0], strict=True)


def test_the_job_is_what_the_server_asks_for_beyond_the_schemas(manifests):
    spec = manifests["Job"]["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "a podFailurePolicy needs it"
    assert spec["completionMode"] == "Indexed", "a limit per index needs it"
    assert spec["completions"] == spec["parallelism"], "every worker is an index"


def test_the_parts_find_each_other(manifests):
    (container,) = manifests["Job"]["spec"]["template"]["spec"]["containers"]
    (volume,) = manifests["Job"]["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
    (secret,) = re.findall("create secret generic (.+) --from-env-file", (CLUSTER / "job.yaml").read_text())
    assert [source["secretRef"]["name"] for source in container["envFrom"]] == [secret]
    keys = re.findall("^(\\w+)=", (CLUSTER / "secret.env").read_text(), re.MULTILINE)
    assert keys == ["SFGSEARCH_STORAGE", "PGPASSWORD"]


@pytest.mark.slow
def test_a_pod_that_is_stopped_leaves_its_trial_to_the_next_which_ends_the_study(pod, manifests, cluster_study):
    cluster_study.hold_up(1)
    stopped, following = pod("sfgsearch-0-mxk4q"), pod("sfgsearch-0-z8w2c")
    with stopped.running() as process:
        cluster_study.wait_for_workers(1)
        status, out = stopped.stop(process)
    assert (status, policy(manifests["Job"], status)) == (143, "Ignore"), out
    (left,) = cluster_study.jobs.values()
    assert (left.worker, left.owner, left.finished) == ("sfgsearch-0-mxk4q", None, False)
    assert cluster_study.checkpoints_of("trial/0")
    cluster_study.go_on()
    for _ in range(2):  # the second one finds nothing to do
        with following.running() as process:
            out, _ = process.communicate(timeout=300)
        assert status_of(process) == 0, out
    assert {job.worker for job in cluster_study.jobs.values()} == {"sfgsearch-0-z8w2c"}
    cluster_study.check_end()


@pytest.mark.slow
def test_a_pod_with_a_wrong_password_is_not_started_again(pod, manifests):
    with pod("sfgsearch-0-mxk4q", PGPASSWORD="wrong").running() as process:
        out, _ = process.communicate(timeout=300)
    assert policy(manifests["Job"], status_of(process)) == "FailIndex", out
    assert len(out.splitlines()) == 1, out


def test_a_pod_that_crashed_or_was_killed_is_started_again_a_few_times(manifests):
    assert [policy(manifests["Job"], status) for status in (1, 137)] == ["Count"] * 2
    assert manifests["Job"]["spec"]["backoffLimitPerIndex"] > 0

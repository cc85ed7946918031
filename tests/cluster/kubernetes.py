"""Checks the example for Kubernetes: the manifests against the schemas of the API, and what the
schemas don't say. There is no cluster here, so the Job itself does not run."""

from pathlib import Path

import kubernetes_validate
import yaml

MANIFESTS = Path(__file__).resolve().parents[2] / "examples" / "cluster" / "k8s-indexed-job.yaml"

manifests = list(yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8")))
for manifest in manifests:
    # `podFailurePolicy` with FailIndex is stable since 1.33.
    for version in ("1.33", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(manifest, version, strict=True)
    print(f"{manifest['kind']} {manifest['metadata']['name']}: valid")

job = manifests[0]["spec"]
pod = job["template"]["spec"]
[container] = pod["containers"]
[shards] = [entry["value"] for entry in container["env"] if entry["name"] == "AMEND_SHARDS"]
assert int(shards) == job["completions"], "AMEND_SHARDS is not the number of completions"
assert job["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never"
for rule in job["podFailurePolicy"]["rules"]:
    codes = rule.get("onExitCodes")
    assert codes is None or codes["containerName"] == container["name"], rule
[claim] = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]]
assert claim == manifests[1]["metadata"]["name"], "the claim has another name"

"""A Ray that says it has a GPU, and a trial for each kind of resources: prints what each of them sees."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import ray

from orchestrator.backends.ray import RayBackend
from orchestrator.runs.contract import Launch
from orchestrator.study.resources import Resources

ENTRYPOINT = "tests.orchestrator.backends.says_environment"
SEEN = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")


def main(folder: Path) -> None:
    ray.init(
        num_cpus=2,
        num_gpus=1,
        namespace="orch",
        include_dashboard=False,
        object_store_memory=80_000_000,
        log_to_driver=False,
    )
    backend = RayBackend(ray.get_runtime_context().gcs_address, workers=2)
    held = {"none": Resources(), "one": Resources(gpus=1)}
    for name, resources in held.items():
        into = folder / name / "attempt-1"
        into.mkdir(parents=True)
        while not backend.submit(Launch(name, 1, ENTRYPOINT, {}, "shape", str(into), resources=resources)):
            time.sleep(0.05)
    while any(p.ended is None for p in backend.poll({(name, 1): 0 for name in held}).values()):
        time.sleep(0.05)
    found = {}
    for name in held:
        (file,) = (folder / name).rglob("environment.json")
        environment = json.loads(file.read_text())
        found[name] = {key: environment.get(key) for key in SEEN}
    slots = [backend.slots(Resources(gpus=gpus)) for gpus in (0, 0.5, 1, 2)]
    backend.close(end_workers=True)
    print(json.dumps({"seen": found, "slots": slots}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

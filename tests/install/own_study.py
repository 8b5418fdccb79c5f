"""A study of a person's own module, in a folder of its own: all that stands beside an installed wheel."""

from __future__ import annotations

from pathlib import Path

MODULE = '''\
"""A model of one parabola: its loss is smallest at lr = 0.3."""

from trainer.protocol import Outcome, Reply, Report


def check(config):
    return [f"Unknown key {key!r}." for key in config if key not in ("seed", "steps", "lr", "width", "kind")]


def shape_key(config):
    return "parabola"


def run(config, reporter, workdir, place):
    print("width", type(config["width"]).__name__, config["width"], config["kind"])
    for step in range(1, config["steps"] + 1):
        loss = (config["lr"] - 0.3) ** 2 + 0.01 * (config["seed"] % 7) + 1 / step
        loss += 0.01 * abs(config["width"] - 5) + 0.1 * (config["kind"] == "wide")
        clocks = {"train_s": 0.01 * step, "steps": step}
        if reporter(Report(step, "train", {"loss": loss}, {}, clocks)) is not Reply.GO:
            return Outcome("stopped", {"loss": loss}, clocks)
    return Outcome("completed", {"loss": loss}, clocks)
'''
SPEC = """\
name: parabola
entrypoint: curve
base: {steps: 5, lr: 0.1, width: 2, kind: wide}
claim:
  {text: Searching beats the default., challenger: confirm, incumbent: base, metric: loss, cost: steps}
arms:
  - {name: base, method: fixed, trials: 6, phase: confirm, fresh_seeds: true}
  - name: search
    method: random
    trials: 8
    space:
      - {path: lr, low: 0.05, high: 0.9}
      - {path: width, type: int, low: 1, high: 9}
      - {path: kind, choices: [wide, deep]}
  - {name: confirm, method: fixed, trials: 6, phase: confirm, fresh_seeds: true, after: {arm: search}}
"""


def write(folder: Path, spec: str = SPEC) -> Path:
    """The folder, with `curve.py` and `study.yaml` in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curve.py").write_text(MODULE)
    (folder / "study.yaml").write_text(spec)
    return folder

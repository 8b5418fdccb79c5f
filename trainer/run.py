"""The entrypoint of a training run, by the name that stands in studies.

python -m trainer.run config.json --out runs/first
python -m trainer.run --pair en-de --size tiny --steps 1200
"""

from trainer.config.inherit import inherit, learns
from trainer.training.entrypoint import check, fits, run, shape_key

__all__ = ["check", "fits", "inherit", "learns", "run", "shape_key"]

if __name__ == "__main__":
    import sys

    from trainer.terminal import console

    sys.exit(console.main())

"""How far is each estimator from the truth? The entrypoint that forks an unguided run now and then.

python -m trainer.audit config.json --out runs/audit
"""

from trainer.audit.entrypoint import check, fits, run, shape_key

__all__ = ["check", "fits", "run", "shape_key"]

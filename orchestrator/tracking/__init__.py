"""How does a study get into MLflow? `background` while it runs, `sync` for what is left.

The ledger is the truth; MLflow is written and never read back for anything but what it holds already.
Importing this loads no MLflow, which takes seconds: only `store.py` does, when the first run is written.
"""

"""Where do attempts run? On Ray, or on a virtual clock; `runs/contract.py` says what is asked of either."""

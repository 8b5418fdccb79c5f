"""Where do attempts run? On Ray, or on a virtual clock; `base` says what is asked of either."""

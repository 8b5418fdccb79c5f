"""What can be asked? One page per study, each a frozen spec: pure data. `catalog.get` finds them."""

"""How is the command line started without its console script? `python -m orchestrator.cli`."""

from orchestrator.cli import main

main()

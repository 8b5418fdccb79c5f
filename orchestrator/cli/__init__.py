"""How does a person at a terminal speak to orch? One file per noun; this one puts them together."""

"""How does a program speak to orch? REST under /api/v1: `create_app` puts the nouns together."""

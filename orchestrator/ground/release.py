"""Which release is this, and by which name does pip know it?"""

DISTRIBUTION = "orch-studies"
VERSION = "0.2.0.dev0"  # the one place: the package's metadata, the API, the command line and trials read it

"""``python -m cli`` is ``prunus``."""

from cli.main import main

main()

"""The recipes that come with the project. Nothing here needs torch."""

from pathlib import Path

__all__ = ["FOLDER", "bundled_recipes"]

FOLDER = Path(__file__).parent


def bundled_recipes() -> list[str]:
    """Names of the recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))

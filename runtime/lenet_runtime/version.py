"""The one place where the distribution's version stands; pyproject.toml reads it here."""

__version__ = "0.1.0"

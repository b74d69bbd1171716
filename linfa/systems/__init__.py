"""What evolves."""

from linfa.systems.full import Full

__all__ = ["Full"]

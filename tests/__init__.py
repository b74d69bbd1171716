"""The tests: where the witnesses meet."""

"""The exact solutions, each beside its slow twin."""

"""The room that shows: one file per figure, a style, a gallery. Run from the checkout: python -m figures --fast."""

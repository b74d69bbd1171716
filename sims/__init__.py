"""One file per study: frozen configurations in, labelled results out, cached; `python -m sims` runs them."""

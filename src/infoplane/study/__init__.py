"""A study: validated spec, plan of cells, run, store, results."""

"""A study: validated spec, plan of cells, execution, results."""

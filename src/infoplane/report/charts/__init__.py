"""The charts of a page, a file for each: every function returns a `Figure`, outside of pyplot's global state."""

"""From a budget of time to the sizes of a measurement, before it begins and while it runs."""

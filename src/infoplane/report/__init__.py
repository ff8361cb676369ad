"""The page and the figures of a study, and its table as text: see `infoplane.report.build`."""

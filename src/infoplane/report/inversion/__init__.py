"""The page of a study of inversion: what it is made of, what it says, and its sections."""

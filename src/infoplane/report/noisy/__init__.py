"""The page of a study of noisy networks: what it is made of, what it says, and its sections."""

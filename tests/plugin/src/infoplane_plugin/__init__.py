"""What another distribution offers to infoplane, one of each kind."""

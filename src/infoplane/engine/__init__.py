"""What runs cells, whatever they do: names, store, lock, schedule, worker processes, watchers."""

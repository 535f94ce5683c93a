"""Where texts are cut: sizes, boundaries, and the choice among them. Runs in child processes."""

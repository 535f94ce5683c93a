"""Pure scores of runs against judgments and against each other, and what a rebuild is judged by. No I/O."""

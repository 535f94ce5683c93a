"""Makes a generation of a collection anew beside the one that serves, and keeps it up to date until it takes over."""

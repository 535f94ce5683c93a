"""Random histories of one collection, compared with a model that fits on a page."""

"""Maps of collections: from vectors and texts to coordinates, labels and files. Pure but for a folder that is given."""

"""What a projection is made from: points of the store, texts and documents, children that lay it out."""

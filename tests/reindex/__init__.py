"""Second generations of a collection, honest and spoiled, and what the gate says of them."""

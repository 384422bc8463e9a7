"""Hardware: capability protocols and the backends that implement them."""

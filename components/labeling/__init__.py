"""Labels from wherever people make them."""

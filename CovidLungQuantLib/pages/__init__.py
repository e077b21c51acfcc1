"""Pages to look at and to print: templates, one stylesheet, and the drawings in them."""

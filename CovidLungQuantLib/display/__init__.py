"""How results look and read everywhere: colours, windows, pictures, facts in words."""
